"""The way to PostgreSQL: run() sends a statement and gives its one row. Nothing else knows how it gets there."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
from aiohttp import web

from todo_service.background import Background
from todo_service.database.collector import Batch, Call, Collector
from todo_service.database.connecting import Search, connect, log_failure
from todo_service.database.failures import (
    RowCountError,
    forget_values,
    is_mistake,
    refusal,
    unavailable,
    was_rolled_back,
)
from todo_service.database.sessions import begin, server_settings
from todo_service.database.statements import Statement
from todo_service.problems import Problem
from todo_service.settings import Settings

if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

log = logging.getLogger(__name__)

LOCK_TIMEOUT = "100ms"  # one user's locked row must not keep the others in a batch, or a connection, for longer
LOCKED_SECONDS = 0.1  # between attempts to find a user's row free
WAITING_SHARE = 0.25  # of DATABASE_TIMEOUT; who would have to wait for longer may as well come again
REFUSAL_SECONDS = 0.05  # until a refusal is sent: who repeats at once would take the processor from those who wait
PATIENCE_SECONDS = 0.03  # after which calls no longer wait for those under way
EXPIRY_SECONDS = 0.2  # between looks for calls that wait for too long
RECONNECT_SECONDS = 1.0  # between attempts to get one connection more than there are


@dataclass
class Numbers:
    """What happened since somebody looked, and cleared it: sizes of batches, and refusals by reason."""

    batches: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


class Database:
    """Runs statements on the connections of a pool.

    A call goes out at once, unless many are under way or no connection is free: then calls are collected, and the next
    connection that is done sends those of one statement as a batch, in one round trip and one transaction.
    Reads leave one connection to writes, and writes one to reads.
    """

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self.numbers = Numbers()
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._timeout = settings.database_timeout
        self._longest_wait = self._timeout * WAITING_SHARE
        self._begin = begin(settings, LOCK_TIMEOUT)
        self._collector = Collector(settings.database_pool_size, settings.database_batch_size, self._loop.time)
        self._idle: list[asyncio.Future[None]] = []  # what senders wait for that have nothing to do,
        self._closed: list[asyncio.Future[None]] = []  # and those without a connection
        self._waking = False
        self._will_try_again = False
        self._open = 0  # connections
        self._lacks_connections = False  # fewer are open than the pool may have, because the last attempt failed
        self._calls: set[Call] = set()  # without an answer
        self._failed = False  # something in the background has, so this worker ends
        self._search = Search(pool, self._refuse_waiting)
        self._background = Background(self._refuse_all)
        self._background.start(self._search.run(), "connecting")
        self._background.start(self._expire(), "deadlines")
        for _ in range(settings.database_pool_size):
            self._background.start(self._send_batches(), "sending")

    async def run(self, statement: Statement, *args: object) -> asyncpg.Record:
        """Runs a statement and returns its row.

        Raises Problem: `unavailable` when nothing was applied, `outcome-unknown` when a write may have been. It takes
        hardly longer than DATABASE_TIMEOUT. Mistakes of the service are raised unchanged: RowCountError for a statement
        that doesn't give exactly one row, asyncpg.InterfaceError for a wrong number of arguments.
        """
        if self._failed:
            raise unavailable()
        collector = self._collector
        waiting = collector.waiting(statement)
        if (waiting or collector.has_locked) and collector.is_too_long(waiting, statement, args, self._longest_wait):
            self.numbers.refused["overload"] += 1
            await asyncio.sleep(REFUSAL_SECONDS)
            raise unavailable()
        call = Call(args, self._loop.create_future(), self._loop.time() + self._timeout)
        self._calls.add(call)
        try:
            collector.add(statement, call)
            if not waiting:  # else nobody is idle, somebody has been woken, or they wait for an answer
                self._wake()
        except Exception as error:  # noqa: BLE001 - the queue can't be trusted any more
            self._background.fail("the queue", error)
        try:
            return await call.answer
        finally:
            self._calls.discard(call)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return self._collector.all_waiting()

    @property
    def idle(self) -> int:
        """How many connections have nothing to do."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """How many connections are at work."""
        return self._open - len(self._idle)

    async def close(self) -> None:
        """Ends all connections; nothing must be running any more."""
        self._idle.clear()  # nobody is to be woken
        self._closed.clear()
        self._pool.terminate()
        await self._background.stop()

    def _refuse_all(self) -> None:
        """After a failure in the background: lets no call wait for something that may not come any more."""
        self._failed = True
        for call in self._calls:
            if not call.answer.done():
                call.answer.set_exception(Problem("internal-error"))

    def _wake(self) -> None:
        """Has an idle connection send what waits, together with what else this turn of the event loop brings."""
        if self._waking or not self._collector.is_ready():
            return
        if self._idle:
            self._waking = True
            self._idle.pop().set_result(None)
        elif self._closed:  # opens another one, which may take long: it doesn't keep others from being woken
            self._closed.pop().set_result(None)

    async def _sleep(self, sleepers: list[asyncio.Future[None]]) -> None:
        woken: asyncio.Future[None] = self._loop.create_future()
        sleepers.append(woken)
        await woken

    async def _send_batches(self) -> None:
        """What each connection does, for ever; it is opened with the first call, and opened again when it is lost."""
        while True:
            if not self._collector:
                await self._sleep(self._closed)
            await self._search.found()
            if (connection := await self._acquire()) is not None:
                self._open += 1
                try:
                    await self._send_over(connection)
                finally:
                    self._open -= 1
                    # The pool releases a closed connection by itself; if it does so just now, this release fails.
                    with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError):
                        await self._pool.release(connection)
            elif self._open:
                self._wake()  # the others serve meanwhile
                await asyncio.sleep(RECONNECT_SECONDS)
            if not self._open:
                self._search.begin()

    async def _acquire(self) -> "Connection | None":
        """A connection of the pool, or None. While others are open, only the first of several failures is logged."""
        try:
            connection = await self._pool.acquire()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no connection
            if self._open and not self._lacks_connections:
                self._lacks_connections = True
                log_failure(log, error, "a further connection can't be had (%s); there are %d", self._open)
            return None
        self._lacks_connections = False
        return connection

    async def _send_over(self, connection: "Connection") -> None:
        """Sends batches until the connection is closed."""
        while _is_open(connection):
            batch = self._collector.take()
            if batch is None:
                await self._sleep(self._idle)
                self._waking = False
                continue
            self._wake()
            self.numbers.batches[len(batch.calls)] += 1
            began = self._loop.time()
            patience = self._loop.call_later(PATIENCE_SECONDS, self._background.run, self._go_on_without, batch)
            try:
                await self._send(connection, batch.statement, batch.calls)
            finally:
                patience.cancel()
                self._collector.finish(batch, self._loop.time() - began)
        self._wake()

    def _refuse_waiting(self, error: Exception) -> None:
        """Of those that wait for a connection, and there is none. After a timeout each waits until its own."""
        if not self._open and not isinstance(error, TimeoutError):
            for statement, calls in self._collector.take_all():
                self._refuse(statement, calls, error, sent=False)

    def _go_on_without(self, batch: Batch) -> None:
        batch.slow = True
        self._wake()

    async def _expire(self) -> None:
        """Refuses what takes too long. A timer for each call would be exact, but is more work for every request."""
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            late = TimeoutError("there was no answer in time")
            for statement, calls in self._collector.overdue(self._loop.time()):
                for sent in (True, False):
                    self._refuse(statement, [call for call in calls if call.sent is sent], late, sent=sent)
            self._collector.forget_answered()

    async def _send(self, connection: "Connection", statement: Statement, calls: list[Call]) -> Exception | None:
        """Answers every call, whatever happens; returns the error if there was one."""
        try:
            rows = await self._fetch(connection, statement, calls)
        except Exception as caught:  # noqa: BLE001 - the callers get it
            error = caught
            if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError) and not _is_open(connection):
                error = ConnectionError(str(error))  # it was lost before or while this was sent: no mistake
            if len(calls) > 1 and was_rolled_back(error):  # all, for the sake of one
                await self._send_one_by_one(connection, statement, calls)
                return error
            if isinstance(error, asyncpg.LockNotAvailableError):
                self._set_aside(statement, calls[0])
                return error
            self._refuse(statement, calls, error, sent=any(call.sent for call in calls))
            if not isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)) and _is_open(connection):
                connection.terminate()  # to close it would wait for a server that may never answer
            return error
        for call, row in zip(calls, rows, strict=True):
            if not call.answer.done():
                call.answer.set_result(row)
        return None

    async def _send_one_by_one(self, connection: "Connection", statement: Statement, calls: list[Call]) -> None:
        """Runs calls that were rolled back together. When two users are locked, everybody seems to be: a table is."""
        for call in calls:
            call.sent = False
        locked: set[tuple[object, ...]] = set()
        for call in calls:
            if call.answer.done():
                continue
            if not _is_open(connection):
                self._refuse(statement, [call], ConnectionError("lost before this was sent again"), sent=False)
            elif call.args[:1] in locked or len(locked) > 1:
                self._set_aside(statement, call)
            else:
                call.sent = True
                error = await self._send(connection, statement, [call])
                if isinstance(error, asyncpg.LockNotAvailableError):
                    locked.add(call.args[:1])

    def _set_aside(self, statement: Statement, call: Call) -> None:
        self._collector.set_aside(statement, call)
        if not self._will_try_again:
            self._will_try_again = True
            self._loop.call_later(LOCKED_SECONDS, self._background.run, self._try_again)

    def _try_again(self) -> None:
        self._will_try_again = False
        self._collector.try_again()
        self._wake()

    def _refuse(self, statement: Statement, calls: list[Call], error: Exception, *, sent: bool) -> None:
        """Answers calls with the error, or with what it means to their callers."""
        calls = [call for call in calls if not call.answer.done()]
        forget_values(error)
        if calls:
            log.warning("%s: %s: %s", statement.name, type(error).__name__, error)
        elif is_mistake(error):  # else it would be lost: all callers have left
            log.error("%s failed", statement.name, exc_info=error)
        for call in calls:
            answer = refusal(statement, error, sent=sent)
            if isinstance(answer, Problem):
                self.numbers.refused[answer.name] += 1
            call.answer.set_exception(answer)

    async def _fetch(self, connection: "Connection", statement: Statement, calls: list[Call]) -> list[asyncpg.Record]:
        """One row for each call; of `calls`, those that left before a pooler had a server for them are taken out."""
        if self._begin is None:
            return await self._fetch_rows(connection, statement, calls)
        for call in calls:
            call.sent = False  # until the pooler has a server for us, nothing can be applied
        async with asyncio.timeout(self._timeout + 2 * EXPIRY_SECONDS):
            try:
                await connection.execute(self._begin)
                calls[:] = [call for call in calls if not call.answer.done()]
                for call in calls:
                    call.sent = True
                rows = await self._fetch_rows(connection, statement, calls) if calls else []
                await connection.execute("COMMIT")
            except (asyncpg.PostgresError, asyncpg.InterfaceError):  # other errors close the connection
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # only that it is lost
                    await connection.execute("ROLLBACK")
                raise
        return rows

    async def _fetch_rows(
        self, connection: "Connection", statement: Statement, calls: list[Call]
    ) -> list[asyncpg.Record]:
        timeout = self._timeout + 2 * EXPIRY_SECONDS  # then all that came until now has been refused
        rows = await connection.fetchmany(statement.text, [call.args for call in calls], timeout=timeout)
        if len(rows) != len(calls):  # nobody knows which is whose
            raise RowCountError(f"{statement.name} gave {len(rows)} rows to {len(calls)} calls: each must get one")
        return rows


def _is_open(connection: "Connection") -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has noticed before
        return False


DATABASE = web.AppKey("database", Database)


def database_context(settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    """Keeps a pool open while the application runs. A start waits for no database: it is looked for meanwhile."""

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
            server_settings=server_settings(settings, LOCK_TIMEOUT),
        ) as pool:
            app[DATABASE] = database = Database(pool, settings)
            try:
                yield
            finally:
                await database.close()

    return context


async def _keep_session(_connection: object) -> None:
    """Instead of the pool's reset query, which would ask the server: our statements leave nothing to reset."""
