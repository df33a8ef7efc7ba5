"""The database: run() sends a statement to PostgreSQL and returns its one row.

batching.py decides which calls share a round trip, and sending.py sends them. You can skip these two files at first.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
from aiohttp import web

from todo_service.background import Background
from todo_service.database.batching import BatchQueue
from todo_service.database.calls import PendingCall
from todo_service.database.connecting import connect, server_settings
from todo_service.database.failures import unavailable
from todo_service.database.sending import DEADLINE_POLL_SECONDS, Counters, Senders
from todo_service.database.statements import Statement
from todo_service.problems import Problem
from todo_service.settings import Settings

MAX_WAIT_RATIO = 0.25
"""A call is rejected if its estimated wait is longer than this share of DATABASE_TIMEOUT."""

REJECTION_DELAY = 0.05
"""Seconds before a rejection is sent: clients that retry at once would take processor time from the waiting calls."""


class Database:
    """Runs statements on the connections of a pool.

    A call waits if many calls are in flight or no connection is free. Otherwise it is sent at once. The next free
    connection sends waiting calls of one statement as a batch: in one round trip and one transaction. If a call fails,
    the batch is rolled back, and its calls are sent again one by one. So only the failing call gets an error.
    """

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._timeout: float = settings.database_timeout
        self._max_wait = self._timeout * MAX_WAIT_RATIO
        self._unanswered: set[PendingCall] = set()
        self._has_failed = False
        self._background = Background(self._fail_all)
        self._queue = BatchQueue(settings.database_pool_size, settings.database_batch_size, self._loop.time)
        self._senders = Senders(pool, settings, self._queue, self._background)
        self._background.start(self._reject_expired(), "deadlines")

    def run(self, statement: Statement, user_id: str, *args: object) -> Coroutine[Any, Any, asyncpg.Record]:
        """Runs a statement, whose first parameter is the user's id, and returns its row.

        Raises Problem, at the latest after DATABASE_TIMEOUT: `unavailable` if nothing was changed, `outcome-unknown` if
        a write may have been applied. Mistakes of the service are raised unchanged: RowCountError if there isn't
        exactly one row, asyncpg.InterfaceError for a wrong number of arguments.
        """
        return self._run(statement, user_id, (user_id, *args))

    def run_without_user(self, statement: Statement) -> Coroutine[Any, Any, asyncpg.Record]:
        """Runs a statement without parameters, which reads no user's data. Returns its row, or raises as `run` does."""
        return self._run(statement, "", ())

    async def _run(self, statement: Statement, user_id: str, args: tuple[object, ...]) -> asyncpg.Record:
        if self._has_failed:
            raise unavailable()
        call = PendingCall(statement, user_id, args, self._loop.create_future(), self._loop.time() + self._timeout)
        if self._queue and self._queue.should_reject(call, self._max_wait):
            self.counters.failures["overload"] += 1
            await asyncio.sleep(REJECTION_DELAY)
            raise unavailable()
        self._unanswered.add(call)
        try:
            if self._queue.add(call):  # otherwise the first call in the queue has already woken a sender
                self._senders.wake()
        except Exception as error:  # noqa: BLE001 - the queue may be broken
            self._background.fail("the queue", error)
        try:
            return await call.future
        finally:
            self._unanswered.discard(call)

    @property
    def counters(self) -> Counters:
        """Counts that have not been added to the metrics yet."""
        return self._senders.counters

    @property
    def waiting_calls(self) -> int:
        return len(self._queue)

    @property
    def idle_connections(self) -> int:
        return self._senders.idle_connections

    @property
    def busy_connections(self) -> int:
        return self._senders.open_connections - self._senders.idle_connections

    async def close(self) -> None:
        """Closes all connections. Call it after all calls have ended."""
        self._senders.stop()
        self._pool.terminate()
        await self._background.stop()

    async def _reject_expired(self) -> None:
        """Rejects expired calls, and wakes a sender for parked ones. A timer for each call would take more time."""
        while True:
            await asyncio.sleep(DEADLINE_POLL_SECONDS)
            expired = self._queue.remove_expired(self._loop.time())
            self._senders.reject(expired, TimeoutError("there was no answer in time"))
            self._senders.wake()

    def _fail_all(self) -> None:
        """Fails all calls, because the background task that would answer them has ended."""
        self._has_failed = True
        for call in self._unanswered:
            if not call.future.done():
                call.future.set_exception(Problem("internal-error"))


DATABASE = web.AppKey("database", Database)


def database_context(settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    """The cleanup context that makes `app[DATABASE]`. It doesn't wait for PostgreSQL, which may start later."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with asyncpg.create_pool(
            settings.database_url,
            min_size=0,
            max_size=settings.database_pool_size,
            max_inactive_connection_lifetime=0,
            statement_cache_size=settings.database_statement_cache,
            max_cached_statement_lifetime=0,
            connect=connect,
            timeout=settings.database_timeout,
            reset=_keep_session,
            server_settings=server_settings(settings),
        ) as pool:
            app[DATABASE] = database = Database(pool, settings)
            try:
                yield
            finally:
                await database.close()

    return context


async def _keep_session(_connection: object) -> None:
    """Replaces the pool's reset query, which costs a round trip. The statements leave no session state to reset."""
