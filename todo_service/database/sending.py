"""Sending: one task for each connection of the pool sends batches, and gives each call its row or its error."""

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from todo_service.background import Background
from todo_service.database.batching import Batch, BatchQueue
from todo_service.database.calls import PendingCall
from todo_service.database.connecting import Reconnector, begin_transaction, log_failure
from todo_service.database.failures import RowCountError, is_mistake, redact_detail, to_problem, was_rolled_back
from todo_service.database.locked_users import LockKey, lock_key
from todo_service.database.statements import Statement
from todo_service.problems import Problem
from todo_service.settings import Settings

if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

log = logging.getLogger(__name__)

SLOW_BATCH_SECONDS = 0.03  # after this time, a batch no longer delays other calls
DEADLINE_POLL_SECONDS = 0.2
RECONNECT_SECONDS = 1.0  # the pause between attempts to open one more connection, while others are open


@dataclass
class Counters:
    """Counts to be added to the metrics: batches by size, failed calls by problem, rejected calls as `overload`."""

    batches: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


class Senders:
    """The sending tasks. A connected task waits for a batch. An unconnected task waits until it is needed."""

    def __init__(self, pool: asyncpg.Pool, settings: Settings, queue: BatchQueue, background: Background) -> None:
        self.counters = Counters()
        self.open_connections = 0
        self._loop = asyncio.get_running_loop()
        self._pool, self._queue, self._background = pool, queue, background
        self._begin = begin_transaction(settings)
        # After this time, all calls of a batch have passed their deadlines and have been rejected.
        self._timeout = settings.database_timeout + 2 * DEADLINE_POLL_SECONDS
        self._idle: list[asyncio.Future[None]] = []  # senders that have a connection, but nothing to send
        self._unconnected: list[asyncio.Future[None]] = []  # senders without a connection
        self._is_waking = False
        self._has_failed_to_connect = False
        self._reconnector = Reconnector(pool, self._reject_queued)
        background.start(self._reconnector.run(), "connecting")
        for _ in range(settings.database_pool_size):
            background.start(self._send_batches(), "sending")

    @property
    def idle_connections(self) -> int:
        return len(self._idle)

    def wake(self) -> None:
        """Wakes a sender if there is a batch for it. The sender runs in the next iteration of the event loop."""
        if self._is_waking or not self._queue.is_ready():
            return
        if self._idle:
            self._is_waking = True
            self._idle.pop().set_result(None)
        elif self._unconnected:  # connecting may take long, so more senders may be woken before it ends
            self._unconnected.pop().set_result(None)

    def stop(self) -> None:
        """Makes `wake` do nothing from now on."""
        self._idle.clear()
        self._unconnected.clear()

    def reject(self, calls: list[PendingCall], error: Exception) -> None:
        """Ends calls with an error: a Problem, or the error itself if it is a mistake. Skips calls that have ended."""
        calls = [call for call in calls if not call.future.done()]
        redact_detail(error)
        for name in dict.fromkeys(call.statement.name for call in calls):
            log.warning("%s: %s: %s", name, type(error).__name__, error)
        for call in calls:
            failure = to_problem(call.statement, error, sent=call.sent)
            if isinstance(failure, Problem):
                self.counters.failures[failure.name] += 1
            call.future.set_exception(failure)

    def _reject_queued(self, error: Exception) -> None:
        """Rejects all waiting calls if no connection is open. After a timeout, each call waits until its deadline."""
        if not self.open_connections and not isinstance(error, TimeoutError):
            self.reject(self._queue.clear(), error)

    async def _wait(self, senders: list[asyncio.Future[None]]) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        senders.append(future)
        await future

    async def _send_batches(self) -> None:
        """In a loop, opens a connection when it is needed, and sends batches until the connection is lost."""
        while True:
            if not self._queue:
                await self._wait(self._unconnected)
            await self._reconnector.wait_connected()
            if (connection := await self._connect()) is not None:
                self.open_connections += 1
                try:
                    await self._send_over(connection)
                finally:
                    self.open_connections -= 1
                    # The pool itself releases a closed connection. If the pool is releasing it now, this release fails.
                    with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError):
                        await self._pool.release(connection)
            elif self.open_connections:
                self.wake()  # the other connections can send
                await asyncio.sleep(RECONNECT_SECONDS)
            if not self.open_connections:
                self._reconnector.start()

    async def _connect(self) -> "Connection | None":
        """Returns a connection of the pool, or None. While others are open, logs only the first failure."""
        try:
            connection = await self._pool.acquire()
        except Exception as error:  # noqa: BLE001 - after any error there is no connection
            if self.open_connections and not self._has_failed_to_connect:
                self._has_failed_to_connect = True
                log_failure(log, error, "can't open one more connection (%s); %d are open", self.open_connections)
            return None
        self._has_failed_to_connect = False
        return connection

    async def _send_over(self, connection: "Connection") -> None:
        """Sends batches until the connection is closed."""
        while _is_open(connection):
            batch = self._queue.next_batch()
            if batch is None:
                await self._wait(self._idle)
                self._is_waking = False
                continue
            self.wake()
            self.counters.batches[len(batch.calls)] += 1
            began = self._loop.time()
            timer = self._loop.call_later(SLOW_BATCH_SECONDS, self._background.run, self._mark_slow, batch)
            try:
                await self._send(connection, batch.calls)
            finally:
                timer.cancel()
                self._queue.finish(batch, self._loop.time() - began)
        self.wake()

    def _mark_slow(self, batch: Batch) -> None:
        batch.is_slow = True
        self.wake()

    async def _send(self, connection: "Connection", calls: list[PendingCall]) -> Exception | None:
        """Sends calls of one statement together, and gives each its row or its error. Returns the error, if any."""
        statement, calls = calls[0].statement, [*calls]  # a copy, because _fetch may remove calls
        try:
            rows = await self._fetch(connection, statement, calls)
        except Exception as caught:  # noqa: BLE001 - the callers get the error
            error = caught
        else:
            for call, row in zip(calls, rows, strict=True):
                if not call.future.done():
                    call.future.set_result(row)
            return None
        if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError) and not _is_open(connection):
            error = ConnectionError(str(error))  # the connection was lost before or while the calls were sent
        if len(calls) > 1 and was_rolled_back(error):
            await self._send_one_by_one(connection, calls)  # one call has failed, and all were rolled back
        elif isinstance(error, asyncpg.LockNotAvailableError):
            self._queue.park(calls[0])
        else:
            if is_mistake(error) and all(call.future.done() for call in calls):  # no caller would log it
                redact_detail(error)
                log.error("%s failed", statement.name, exc_info=error)
            self.reject(calls, error)
            if not isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)) and _is_open(connection):
                connection.terminate()  # close() would wait for a server that may never answer
        return error

    async def _send_one_by_one(self, connection: "Connection", calls: list[PendingCall]) -> None:
        """Sends the calls of a rolled-back batch one by one. If two users are locked, parks the rest."""
        for call in calls:
            call.sent = False
        locked: set[LockKey] = set()
        for call in calls:
            if call.future.done():
                continue
            if not _is_open(connection):
                self.reject([call], ConnectionError("lost before this was sent again"))
            elif lock_key(call) in locked or len(locked) > 1:
                self._queue.park(call)
            else:
                call.sent = True
                if isinstance(await self._send(connection, [call]), asyncpg.LockNotAvailableError):
                    locked.add(lock_key(call))

    async def _fetch(
        self, connection: "Connection", statement: Statement, calls: list[PendingCall]
    ) -> list[asyncpg.Record]:
        """Returns one row for each call. Removes calls that have ended while they waited for the pooler."""
        if self._begin is None:
            return await self._fetch_rows(connection, statement, calls)
        for call in calls:
            call.sent = False  # nothing is applied before the pooler answers BEGIN
        async with asyncio.timeout(self._timeout):
            try:
                await connection.execute(self._begin)
                calls[:] = [call for call in calls if not call.future.done()]
                for call in calls:
                    call.sent = True
                rows = await self._fetch_rows(connection, statement, calls) if calls else []
                await connection.execute("COMMIT")
            except (asyncpg.PostgresError, asyncpg.InterfaceError):  # other errors close the connection
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # the connection may be lost
                    await connection.execute("ROLLBACK")
                raise
        return rows

    async def _fetch_rows(
        self, connection: "Connection", statement: Statement, calls: list[PendingCall]
    ) -> list[asyncpg.Record]:
        rows = await connection.fetchmany(statement.text, [call.args for call in calls], timeout=self._timeout)
        if len(rows) != len(calls):  # it is unknown which row belongs to which call
            raise RowCountError(f"{statement.name} returned {len(rows)} rows for {len(calls)} calls: each needs one")
        return rows


def _is_open(connection: "Connection") -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has released the connection
        return False
