"""Batches: which of the waiting calls share the next round trip to PostgreSQL, and when calls are rejected.

Why the numbers are what they are: docs/performance.md. That no call is lost or sent twice: tests/test_batching.py.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from todo_service.database.calls import PendingCall
from todo_service.database.locked_users import LockedUsers, lock_key
from todo_service.database.statements import Statement

MAX_IN_FLIGHT = 10
"""While so many calls are in flight, others wait although a connection is idle. A round trip takes the service as much
time as two requests, and several transactions at once take PostgreSQL more time than one after the other."""

SPLIT_ABOVE = 16
"""Of more waiting calls than this, a batch takes half: PostgreSQL works on the next one while answers are sent."""

MIN_QUEUE_BEFORE_REJECTING = 2 * SPLIT_ABOVE
"""So many calls of a statement may always wait: more than one batch takes, so that their rate can be measured."""

MAX_QUEUED = 10_000
"""So many calls of all statements may wait: each needs some 10 kB of memory."""

TARGET_BATCH_SECONDS = 1.0
"""How long a batch should take at most, judging by the last one of its statement. DATABASE_TIMEOUT is for all of it."""

DECAY = 0.95
"""The weight of what was measured before, beside that of the newest batch."""


@dataclass(eq=False, slots=True)
class Batch:
    """Calls of one statement that are sent together."""

    statement: Statement
    calls: list[PendingCall]
    is_retry: bool = False
    """Whether it is the retry of a parked call."""
    is_slow: bool = False
    """Whether it takes so long that other calls don't wait for it."""


class DrainRate:
    """How fast waiting calls of a statement are sent: an average in which newer batches weigh more."""

    def __init__(self) -> None:
        self._calls = self._seconds = 0.0
        self._since: float | None = None  # the last batch that left others waiting

    @property
    def seconds_per_call(self) -> float:
        """0 until it is known."""
        return self._seconds / self._calls if self._calls else 0.0

    def take(self, calls: int, now: float, *, last: bool) -> None:
        """Counts calls that were taken from the queue; `last` says that none was left."""
        if self._since is not None:
            self._calls = self._calls * DECAY + calls
            self._seconds = self._seconds * DECAY + now - self._since
        self._since = None if last else now


class BatchQueue:
    """The waiting calls of each statement, which take turns, and the batches in flight."""

    def __init__(self, connections: int, batch_size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.locked_users = LockedUsers()
        self._share = max(connections - 1, 1)  # reads leave one connection to writes, and writes one to reads
        self._batch_size = batch_size
        self._clock = clock
        self._batch_sizes: dict[Statement, int] = {}
        self._rates: dict[Statement, DrainRate] = {}
        self._queues: dict[Statement, deque[PendingCall]] = {}  # in the order of their turns; none is empty
        self._in_flight: dict[bool, list[Batch]] = {False: [], True: []}  # reads and writes

    def __bool__(self) -> bool:
        """Whether any call waits."""
        return bool(self._queues or self.locked_users)

    def __len__(self) -> int:
        """The number of calls that wait."""
        return sum(map(len, self._queues.values())) + len(self.locked_users)

    def queued(self, statement: Statement) -> int:
        """The number of calls of a statement that wait, without those of locked users."""
        return len(self._queues.get(statement, ()))

    def should_reject(self, call: PendingCall, max_wait: float) -> bool:
        """Whether one more call would wait longer than `max_wait` seconds, or too many wait already."""
        if self.locked_users and self.locked_users.is_full(lock_key(call)):
            return True
        queued = self.queued(call.statement)
        if queued < MIN_QUEUE_BEFORE_REJECTING:
            return False
        return queued * self._rates[call.statement].seconds_per_call > max_wait or len(self) >= MAX_QUEUED

    def add(self, call: PendingCall) -> bool:
        """Queues a call, or parks it if its user is locked. Returns whether no other call of its statement waits."""
        if self.locked_users and self.locked_users.add(call):
            return False
        if queue := self._queues.get(call.statement):
            queue.append(call)
            return False
        self._queues[call.statement] = deque([call])
        if call.statement not in self._rates:
            self._rates[call.statement] = DrainRate()
        return True

    def is_ready(self) -> bool:
        """Whether there is a batch for one more connection."""
        return self.locked_users.can_retry(self._has_room) or any(map(self._may_send, self._queues))

    def next_batch(self) -> Batch | None:
        """The next batch for one more connection, if there is one. `finish` must follow."""
        if call := self.locked_users.next_call(self._clock(), self._has_room):
            return self._start(Batch(call.statement, [call], is_retry=True, is_slow=True))
        for statement in list(self._queues):
            if self._may_send(statement) and (calls := self._take(statement)):
                return self._start(Batch(statement, calls))
        return None

    def finish(self, batch: Batch, seconds: float) -> None:
        """Ends a batch, which took so many seconds."""
        self._in_flight[batch.statement.writes].remove(batch)
        if batch.is_retry:
            for call in self.locked_users.finish():
                self.add(call)
        else:
            size = int(len(batch.calls) * TARGET_BATCH_SECONDS / seconds) if seconds else self._batch_size
            self._batch_sizes[batch.statement] = max(1, min(size, self._batch_size))

    def clear(self) -> list[PendingCall]:
        """Removes all calls that wait, and returns them."""
        calls = [call for queue in self._queues.values() for call in queue] + self.locked_users.clear()
        self._queues.clear()
        self._rates.clear()
        return calls

    def remove_expired(self, now: float) -> list[PendingCall]:
        """Removes and returns the calls whose deadlines have passed. Calls whose callers left are removed, too.

        Calls in flight are returned, but stay in their batches.
        """
        batches = [batch for batches in self._in_flight.values() for batch in batches]
        expired = [call for batch in batches for call in batch.calls if call.deadline < now]
        for statement, queue in list(self._queues.items()):
            expired += [call for call in queue if call.deadline < now]
            self._queues[statement] = waiting = deque(c for c in queue if c.deadline >= now and not c.future.done())
            if not waiting:
                del self._queues[statement], self._rates[statement]  # the rate is measured anew
        return expired + self.locked_users.remove_expired(now)

    def _has_room(self, writes: bool) -> bool:
        return len(self._in_flight[writes]) < self._share

    def _may_send(self, statement: Statement) -> bool:
        calls = sum(len(batch.calls) for batch in self._in_flight[statement.writes] if not batch.is_slow)
        return self._has_room(statement.writes) and calls < MAX_IN_FLIGHT

    def _start(self, batch: Batch) -> Batch:
        for call in batch.calls:
            call.sent = True
        self._in_flight[batch.statement.writes].append(batch)
        return batch

    def _take(self, statement: Statement) -> list[PendingCall]:
        """Takes calls from a queue, which then goes behind the others.

        The oldest calls are taken first, and are sorted by user. A batch locks the rows of its users one after the
        other until it ends: because all batches lock in the same order, there are no deadlocks.
        """
        queue = self._queues.pop(statement)
        size = 1 if statement.unbatched else self._batch_sizes.get(statement, self._batch_size)
        size = min(size, max(SPLIT_ABOVE, len(queue) // 2))
        calls: list[PendingCall] = []
        while queue and len(calls) < size:
            call = queue.popleft()
            if not call.future.done():  # else it has expired, or its caller left
                calls.append(call)
        if queue:
            self._queues[statement] = queue
        self._rates[statement].take(len(calls), self._clock(), last=not queue)
        calls.sort(key=lambda call: str(call.user_id))
        return calls
