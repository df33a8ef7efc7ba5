"""Batching: decides which waiting calls share the next round trip to PostgreSQL, and which new calls are rejected.

docs/measurements.md explains the numbers. tests/database/test_batching.py checks that no call is lost or sent twice.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from todo_service.database.calls import PendingCall
from todo_service.database.locked_users import LockedUsers
from todo_service.database.statements import Statement

MAX_IN_FLIGHT = 10
"""While this number of reads is in flight, other reads wait, even if a connection is idle. The same is true for writes.
For the service, a round trip costs as much as two requests. For PostgreSQL, concurrent transactions cost more than
consecutive ones."""

SPLIT_ABOVE = 16
"""A batch may always take this many calls. From a longer queue, a batch takes at most half of the calls. So PostgreSQL
runs the next batch while the service sends the responses of this one."""

MIN_QUEUE_BEFORE_REJECTING = 2 * SPLIT_ABOVE
"""No call is rejected until this number of calls of its statement wait. One batch can't empty a queue of this length,
so its drain rate has been measured."""

MAX_QUEUED = 10_000
"""The limit of waiting calls, for all statements together. Each call takes about 10 kB of memory."""

TARGET_BATCH_SECONDS = 1.0
"""A batch should take at most this time: the duration of a statement's last batch determines the size of its next one.
The time must be far less than DATABASE_TIMEOUT, which limits the whole batch."""

DECAY = 0.95
"""The weight of the earlier batches in a drain rate. The newest batch has the weight 1."""


@dataclass(eq=False, slots=True)
class Batch:
    """Calls of one statement that are sent together."""

    statement: Statement
    calls: list[PendingCall]
    is_retry: bool = False
    """Whether the batch is the retry of a parked call."""
    is_slow: bool = False
    """Whether MAX_IN_FLIGHT ignores the batch: it is a retry, or has taken longer than SLOW_BATCH_SECONDS."""


class DrainRate:
    """The rate at which the waiting calls of a statement are sent: an exponential moving average."""

    def __init__(self) -> None:
        self._calls = self._seconds = 0.0
        self._since: float | None = None  # when the last batch was taken; None if no call has waited since

    @property
    def seconds_per_call(self) -> float:
        """The average time for each call; 0 before the first measurement."""
        return self._seconds / self._calls if self._calls else 0.0

    def count(self, calls: int, now: float, *, remaining: int) -> None:
        """Counts the calls of a batch that was taken from the queue. Times with an empty queue are not measured."""
        if self._since is not None:
            self._calls = self._calls * DECAY + calls
            self._seconds = self._seconds * DECAY + now - self._since
        self._since = now if remaining else None


class StatementQueue:
    """The waiting calls of one statement, the maximal size of its next batch, and its drain rate."""

    def __init__(self, batch_size: int) -> None:
        self.calls: deque[PendingCall] = deque()
        self.batch_size = batch_size
        self.rate = DrainRate()

    def take(self, now: float) -> list[PendingCall]:
        """Takes the calls of the next batch: the oldest ones, sorted by user.

        A batch locks the rows of its users one after the other, and holds the locks until it ends. All batches lock in
        the same order of users, so they don't deadlock.
        """
        size = min(self.batch_size, max(SPLIT_ABOVE, len(self.calls) // 2))
        taken: list[PendingCall] = []
        while self.calls and len(taken) < size:
            call = self.calls.popleft()
            if not call.future.done():  # a call that is done has expired or was cancelled
                taken.append(call)
        self.rate.count(len(taken), now, remaining=len(self.calls))
        taken.sort(key=lambda call: call.user_id)
        return taken


class BatchQueue:
    """A queue of waiting calls for each statement, and the batches in flight. The statements take turns."""

    def __init__(self, connections: int, batch_size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._max_batches = max(connections - 1, 1)  # reads leave a connection for writes, writes leave one for reads
        self._max_batch_size = batch_size
        self._statements: dict[Statement, StatementQueue] = {}
        self._turns: dict[Statement, StatementQueue] = {}  # the queues that are not empty, in the order of their turns
        self._in_flight: list[Batch] = []
        self._locked_users = LockedUsers()

    def __bool__(self) -> bool:
        """Whether any call waits."""
        return bool(self._turns or self._locked_users.parked)

    def __len__(self) -> int:
        """The number of calls that wait."""
        return sum(len(queue.calls) for queue in self._turns.values()) + len(self._locked_users)

    def should_reject(self, call: PendingCall, max_wait: float) -> bool:
        """Whether one more call would wait longer than `max_wait` seconds, or too many calls wait already."""
        if self._locked_users.parked and self._locked_users.should_reject(call):
            return True
        queue = self._turns.get(call.statement)
        if queue is None or len(queue.calls) < MIN_QUEUE_BEFORE_REJECTING:
            return False
        return len(queue.calls) * queue.rate.seconds_per_call > max_wait or len(self) >= MAX_QUEUED

    def add(self, call: PendingCall) -> bool:
        """Queues a call, or parks it if its user is locked. Returns whether it is now the only call in its queue."""
        if self._locked_users.parked and self._locked_users.add(call):
            return False
        queue = self._turns.get(call.statement)
        if queue is not None:
            queue.calls.append(call)
            return False
        queue = self._statements.get(call.statement)
        if queue is None:
            size = 1 if call.statement.unbatched else self._max_batch_size
            self._statements[call.statement] = queue = StatementQueue(size)
        queue.calls.append(call)
        self._turns[call.statement] = queue
        return True

    def park(self, call: PendingCall) -> None:
        """Parks a call that got a lock timeout, or that would get one."""
        self._locked_users.park(call, self._clock())

    def is_ready(self) -> bool:
        """Whether there is a batch for a free connection."""
        return any(map(self._may_send, self._turns)) or (
            bool(self._locked_users.parked) and self._locked_users.can_retry(self._clock(), self._has_room)
        )

    def next_batch(self) -> Batch | None:
        """The next batch for a free connection, or None. Call `finish` when the batch has ended."""
        if self._locked_users.parked and (call := self._locked_users.next_call(self._clock(), self._has_room)):
            return self._send(Batch(call.statement, [call], is_retry=True, is_slow=True))
        for statement, queue in list(self._turns.items()):
            if self._may_send(statement):
                del self._turns[statement]
                calls = queue.take(self._clock())
                if queue.calls:
                    self._turns[statement] = queue  # the queue becomes the last one in the order of turns
                if calls:
                    return self._send(Batch(statement, calls))
        return None

    def finish(self, batch: Batch, seconds: float) -> None:
        """Removes a batch that has ended. Its duration in seconds determines the next batch size of its statement."""
        self._in_flight.remove(batch)
        if batch.is_retry:
            for call in self._locked_users.finish(batch.calls[0]):
                self.add(call)
        elif not batch.statement.unbatched:
            size = int(len(batch.calls) * TARGET_BATCH_SECONDS / seconds) if seconds else self._max_batch_size
            self._statements[batch.statement].batch_size = max(1, min(size, self._max_batch_size))

    def clear(self) -> list[PendingCall]:
        """Removes all calls that wait, and returns them."""
        calls: list[PendingCall] = []
        for queue in self._turns.values():
            calls += queue.calls
            queue.calls.clear()
            queue.rate = DrainRate()
        self._turns.clear()
        return calls + self._locked_users.clear()

    def remove_expired(self, now: float) -> list[PendingCall]:
        """Removes and returns the calls whose deadlines have passed. Also removes calls that were cancelled.

        Expired calls in flight are returned, too, but stay in their batches.
        """
        expired = [call for batch in self._in_flight for call in batch.calls if call.deadline < now]
        for statement, queue in list(self._turns.items()):
            expired += [call for call in queue.calls if call.deadline < now]
            queue.calls = deque(call for call in queue.calls if call.deadline >= now and not call.future.done())
            if not queue.calls:
                queue.rate = DrainRate()
                del self._turns[statement]
        return expired + self._locked_users.remove_expired(now)

    def _has_room(self, writes: bool) -> bool:
        return sum(batch.statement.writes is writes for batch in self._in_flight) < self._max_batches

    def _may_send(self, statement: Statement) -> bool:
        alike = [batch for batch in self._in_flight if batch.statement.writes is statement.writes]
        calls = sum(len(batch.calls) for batch in alike if not batch.is_slow)
        return len(alike) < self._max_batches and calls < MAX_IN_FLIGHT

    def _send(self, batch: Batch) -> Batch:
        for call in batch.calls:
            call.sent = True
        self._in_flight.append(batch)
        return batch
