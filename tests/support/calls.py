"""Helpers for tests that call a `Database`: statements, their arguments, and a lock that blocks them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg

from tests.support.sql_files import USER_STATEMENTS
from todo_service.database.database import Database
from todo_service.database.statements import Statement
from todo_service.handlers.tasks import CREATE_TASK

READ = Statement("test/read", "SELECT now() AS began, $1::text AS user_id", writes=False)
WRITE = Statement("test/write", READ.text, writes=True)
WAIT_FOR_LOCK = Statement(
    "test/wait_for_lock", "SELECT pg_advisory_xact_lock_shared(hashtext($1::text)) AS opened", writes=False
)


def users(count: int) -> list[str]:
    return [f"user-{uuid4()}" for _ in range(count)]


def creation(user_id: str, title: str = "x") -> tuple[Any, ...]:
    return (*USER_STATEMENTS["create_task"].arguments(user_id=user_id, title=title),)


async def create(database: Database, user_id: str, title: str = "x") -> dict[str, Any]:
    row = await database.run(CREATE_TASK, *creation(user_id, title))
    task: dict[str, Any] = json.loads(row["body"])
    return task


async def gather(*calls: Awaitable[asyncpg.Record]) -> list[asyncpg.Record | BaseException]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def tasks_of(connection: asyncpg.Connection, *user_ids: str) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM tasks WHERE user_id = ANY($1)", user_ids)
    return count


@asynccontextmanager
async def advisory_lock(connection: asyncpg.Connection) -> AsyncIterator[str]:
    """Holds a lock within the block, and yields its name. The statement WAIT_FOR_LOCK waits for this lock."""
    name = str(uuid4())
    await connection.execute("SELECT pg_advisory_lock(hashtext($1))", name)
    yield name
    await connection.execute("SELECT pg_advisory_unlock(hashtext($1))", name)
