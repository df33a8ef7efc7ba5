"""Many connections that write the tasks of one user at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from tests.support.members import CREATED
from tests.support.processes import PATIENCE
from tests.support.sql_files import OWNED

WRITERS = 32

# Holds up all writes of the user, new or not, until it is rolled back.
GATE = "INSERT INTO users (id, revision) VALUES ($1, 0) ON CONFLICT (id) DO UPDATE SET revision = users.revision"
WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid = ANY($1)"
Row = asyncpg.Record
Task = dict[str, Any]


@pytest.fixture
async def writers(database_url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    connections = await asyncio.gather(*(asyncpg.connect(database_url) for _ in range(WRITERS)))
    yield connections
    await asyncio.gather(*(connection.close() for connection in connections))


@pytest.fixture
def user_id() -> str:
    return uuid4().hex


async def run(connection: asyncpg.Connection, name: str, **given: object) -> Row:
    """Runs a statement of sql/tasks and gives its row."""
    [row] = await connection.fetch(OWNED[name].text, *OWNED[name].arguments(**given))
    return row


async def hold_up(connection: asyncpg.Connection, user_id: str) -> Transaction:
    """Lets no write of the user go on until the transaction is rolled back."""
    gate = connection.transaction()
    await gate.start()
    await connection.execute(GATE, user_id)
    return gate


async def until_all_wait(connection: asyncpg.Connection, writers: list[asyncpg.Connection]) -> None:
    pids = [writer.get_server_pid() for writer in writers]
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval(WAITING, pids) < len(pids):
            pass


async def race(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], name: str, user_id: str, **given: object
) -> list[Row]:
    """Runs a statement on all writers at once: none can go on before all of them wait for the user's row."""
    gate = await hold_up(connection, user_id)
    running = asyncio.gather(*(run(writer, name, user_id=user_id, **given) for writer in writers))
    await until_all_wait(connection, writers)
    await gate.rollback()
    return await running


async def create(connection: asyncpg.Connection, user_id: str) -> Task:
    return task_of(await run(connection, "create_task", user_id=user_id, **CREATED))


def task_of(row: Row) -> Task:
    task: Task = json.loads(row["body"])
    return task


ROUNDS = 10

# Fails when a write holds a lock on a task: two that lock in different orders would deadlock.
LOCK_TASKS = "SELECT FROM tasks WHERE user_id = $1 FOR UPDATE NOWAIT"


def applied(row: Row) -> bool:
    return row["deleted"] if "deleted" in row else row["body"] is not None


async def revision_of(connection: asyncpg.Connection, user_id: str) -> int:
    revision: int = await connection.fetchval("SELECT revision FROM users WHERE id = $1", user_id)
    return revision


async def stored(connection: asyncpg.Connection, task: Task) -> dict[str, Any]:
    """All columns of the task, as they are in the table."""
    [row] = await connection.fetch("SELECT * FROM tasks WHERE id = $1", UUID(task["id"]))
    return dict(row)
