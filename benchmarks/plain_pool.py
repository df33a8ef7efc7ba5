"""This service with a plain pool of connections: each call takes a connection and awaits `fetchrow`, without batches.

It shows the effect of batching.py and sending.py. It has no deadlines, retries or rejections, so it is for the
benchmark only. `DATABASE_BATCH_SIZE=1` is different: it sends single calls, but they still wait in the queue.
"""

import asyncpg
from aiohttp import web

from todo_service.database import Statement, database
from todo_service.database.sending import Counters
from todo_service.settings import Settings


class PlainDatabase:
    """Has the interface of Database. `database_context` makes the pool, which caches prepared statements."""

    waiting_calls = idle_connections = busy_connections = 0  # for the metrics only

    def __init__(self, pool: asyncpg.Pool, _settings: Settings) -> None:
        self._pool = pool
        self.counters = Counters()

    async def run(self, statement: Statement, *args: object) -> asyncpg.Record | None:
        return await self._pool.fetchrow(statement.text, *args)

    run_without_user = run

    async def close(self) -> None:
        self._pool.terminate()


async def create_runner() -> web.AppRunner:
    """The application's runner, in the workers of gunicorn."""
    from todo_service.server import runner  # noqa: PLC0415 - only workers import it

    database.Database = PlainDatabase  # type: ignore[assignment,misc]
    return await runner.create_runner()
