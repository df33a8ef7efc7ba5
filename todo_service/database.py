"""The way to PostgreSQL: run() sends a statement and gives its one row. Nothing else knows how it gets there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

import asyncpg
from aiohttp import web

from todo_service.errors import RETRY_AFTER, Problem
from todo_service.settings import Settings
from todo_service.statements import Statement

log = logging.getLogger(__name__)

LOCK_TIMEOUT = "1s"  # one user's locked row must not keep a connection from the others for longer

# SQLSTATEs after which PostgreSQL has certainly rolled back: the request can be repeated as it is.
# 25006 read only (a failover is under way), 40001 and 40P01 serialization and deadlock, 53 resources, 55P03 lock
# timeout, 57014 statement timeout, 57P03 still starting; 42P01 and 42703 table or column missing: not migrated yet.
ROLLED_BACK = ("25006", "40001", "40P01", "42P01", "42703", "53", "55P03", "57014", "57P03")

# SQLSTATEs of a connection that ended, perhaps after the commit: 08 connection, 57P01, 57P02 and 57P05 shutdowns.
DISCONNECTED = ("08", "57P01", "57P02", "57P05")


class Database:
    """Runs statements on a pool of connections."""

    def __init__(self, pool: asyncpg.Pool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout

    async def run(self, statement: Statement, *args: object) -> asyncpg.Record:
        """Runs a statement and returns its row.

        Raises Problem: `unavailable` when nothing was applied, `outcome-unknown` when a write may have been. It takes
        no longer than DATABASE_TIMEOUT. A statement that doesn't give exactly one row is a mistake: RuntimeError.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            connection = await self._pool.acquire(timeout=self._timeout)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _refuse(statement, error, maybe_applied=False)
        try:
            remaining = max(deadline - asyncio.get_running_loop().time(), 0.001)
            rows = await connection.fetch(statement.text, *args, timeout=remaining)
        except TimeoutError as error:
            connection.terminate()  # release() would wait, as long again, for a server that may never answer
            _refuse(statement, error, maybe_applied=statement.writes)
        except (OSError, asyncpg.InterfaceError) as error:
            _refuse(statement, error, maybe_applied=statement.writes)
        except asyncpg.PostgresError as error:
            if not error.sqlstate.startswith(ROLLED_BACK + DISCONNECTED):
                raise
            _refuse(statement, error, maybe_applied=statement.writes and error.sqlstate.startswith(DISCONNECTED))
        finally:
            await self._pool.release(connection)
        if len(rows) != 1:
            raise RuntimeError(f"{statement.name} gave {len(rows)} rows: every statement must give one")
        return rows[0]


def _refuse(statement: Statement, error: Exception, *, maybe_applied: bool) -> NoReturn:
    log.warning("%s: %s: %s", statement.name, type(error).__name__, error)
    if maybe_applied:
        raise Problem(
            "outcome-unknown",
            "The connection to the database was lost: the change may have been made or not; "
            "read your tasks before you repeat the request.",
        ) from error
    raise Problem(
        "unavailable", "The database can't be reached or is busy, nothing was changed: try again.", headers=RETRY_AFTER
    ) from error


DATABASE = web.AppKey("database", Database)


def database_context(settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    """Keeps a pool open while the application runs. It connects when it must, so a start needs no database."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with asyncpg.create_pool(
            settings.database_url,
            min_size=0,
            max_size=settings.database_pool_size,
            max_inactive_connection_lifetime=0,
            statement_cache_size=settings.database_statement_cache,
            max_cached_statement_lifetime=0,
            timeout=settings.database_timeout,
            reset=_keep_session,
            server_settings=_server_settings(settings),
        ) as pool:
            app[DATABASE] = Database(pool, settings.database_timeout)
            yield

    return context


def _server_settings(settings: Settings) -> dict[str, str]:
    names = {"application_name": "todo-service"}
    if settings.database_statement_cache == 0:
        return names  # a pooler in between refuses the others
    return names | {
        "plan_cache_mode": "force_generic_plan",
        "lock_timeout": LOCK_TIMEOUT,
        # Before our own timeout, after which nobody knows what became of a write.
        "statement_timeout": f"{settings.database_timeout * 900}ms",
        "jit": "off",
    }


async def _keep_session(_connection: object) -> None:
    """Instead of the pool's reset query, a round trip for each request: our statements leave nothing to reset."""
