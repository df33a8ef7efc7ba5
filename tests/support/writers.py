"""Many connections that write the tasks of one user concurrently."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from tests.support.members import CREATED
from tests.support.processes import TEST_TIMEOUT
from tests.support.sql_files import USER_STATEMENTS

WRITERS = 32
ROUNDS = 10

# Blocks all writes of the user, even of a new user, until its transaction is rolled back.
BLOCK_WRITES = (
    "INSERT INTO users (id, revision) VALUES ($1, 0) ON CONFLICT (id) DO UPDATE SET revision = users.revision"
)
# Fails if a blocked write has locked a task: two writes that lock in different orders would deadlock.
LOCK_TASKS = "SELECT FROM tasks WHERE user_id = $1 FOR UPDATE NOWAIT"
WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid = ANY($1)"
Row = asyncpg.Record
Task = dict[str, Any]
Call = tuple[str, dict[str, object]]
"""The name of a statement, and its arguments."""


@pytest.fixture
async def writers(database_url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    connections = await asyncio.gather(*(asyncpg.connect(database_url) for _ in range(WRITERS)))
    yield connections
    await asyncio.gather(*(connection.close() for connection in connections))


@pytest.fixture
def user_id() -> str:
    return uuid4().hex


async def run_statement(connection: asyncpg.Connection, name: str, **given: object) -> Row:
    """Runs a statement of sql/tasks or sql/me, and returns its row."""
    [row] = await connection.fetch(USER_STATEMENTS[name].text, *USER_STATEMENTS[name].arguments(**given))
    return row


async def block_writes(connection: asyncpg.Connection, user_id: str) -> Transaction:
    """Blocks all writes of the user, even of a new user, until the returned transaction is rolled back."""
    blocker = connection.transaction()
    await blocker.start()
    await connection.execute(BLOCK_WRITES, user_id)
    return blocker


async def wait_until_all_blocked(connection: asyncpg.Connection, writers: list[asyncpg.Connection]) -> None:
    """Waits until each of the writers waits for a lock."""
    pids = [writer.get_server_pid() for writer in writers]
    async with asyncio.timeout(TEST_TIMEOUT):
        while await connection.fetchval(WAITING, pids) < len(pids):
            pass


async def run_at_once(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str, calls: list[Call]
) -> list[Row]:
    """Runs each call on a writer of its own. All calls wait for the user's row before the first can lock it."""
    writers = writers[: len(calls)]
    blocker = await block_writes(connection, user_id)
    running = asyncio.gather(
        *(
            run_statement(writer, name, user_id=user_id, **given)
            for writer, (name, given) in zip(writers, calls, strict=True)
        )
    )
    await wait_until_all_blocked(connection, writers)
    await blocker.rollback()
    return await running


async def run_on_all_writers(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], name: str, user_id: str, **given: object
) -> list[Row]:
    """Runs the same call on all writers at once."""
    return await run_at_once(connection, writers, user_id, [(name, given)] * len(writers))


async def create(connection: asyncpg.Connection, user_id: str) -> Task:
    return task_of(await run_statement(connection, "create_task", user_id=user_id, **CREATED))


def task_of(row: Row) -> Task:
    task: Task = json.loads(row["body"])
    return task


def was_applied(row: Row) -> bool:
    """Whether the row of a write says that the write was applied."""
    return row["deleted"] if "deleted" in row else row["body"] is not None


async def revision_of(connection: asyncpg.Connection, user_id: str) -> int:
    revision: int = await connection.fetchval("SELECT revision FROM users WHERE id = $1", user_id)
    return revision


async def read_task_row(connection: asyncpg.Connection, task: Task) -> dict[str, Any]:
    """All columns of the task in the table."""
    [row] = await connection.fetch("SELECT * FROM tasks WHERE id = $1", UUID(task["id"]))
    return dict(row)
