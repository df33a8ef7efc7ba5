"""Collects the calls that wait for a connection into batches: fair between statements, and safe from deadlocks."""

from asyncio import Future
from collections import deque
from dataclasses import dataclass

import asyncpg

from todo_service.statements import Statement

ENOUGH_CALLS = 10
"""While so many are under way, others wait for their answer, although a connection is idle: a round trip costs the
service as much as two requests, and several transactions at once cost PostgreSQL more than one after the other."""

UNDIVIDED_CALLS = 16
"""Of more than these a batch leaves half for the next: PostgreSQL is to have work while the service handles answers."""

BATCH_SECONDS = 1.0
"""How long a batch should take at most, judging by the last one of its statement; DATABASE_TIMEOUT is for all of it."""


@dataclass(eq=False, slots=True)
class Call:
    """One execution of a statement, and the row or the error that its caller waits for."""

    args: tuple[object, ...]
    answer: Future[asyncpg.Record]
    deadline: float
    """When its caller won't wait any longer, in the event loop's time."""
    sent: bool = False


@dataclass(eq=False, slots=True)
class Batch:
    """Calls of one statement that are sent together."""

    statement: Statement
    calls: list[Call]
    slow: bool = False
    """Whether it takes so long that others shouldn't wait for it."""


class Collector:
    """The waiting calls of each statement, which take turns, and the batches under way."""

    def __init__(self, connections: int, batch_size: int) -> None:
        self._share = max(connections - 1, 1)  # slow reads leave a connection to the writes, and the other way round
        self._batch_size = batch_size
        self._sizes: dict[Statement, int] = {}  # of the next batch
        self._waiting: dict[Statement, deque[Call]] = {}  # none is empty; the one whose turn it is comes first
        self._under_way: dict[bool, list[Batch]] = {False: [], True: []}  # reads and writes

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def add(self, statement: Statement, call: Call) -> None:
        """Lets a call wait for its turn."""
        queue = self._waiting.get(statement)
        if queue is None:
            self._waiting[statement] = queue = deque()
        queue.append(call)

    def waiting(self, statement: Statement) -> int:
        """How many calls of a statement wait for their turn."""
        return len(self._waiting.get(statement, ()))

    def is_ready(self) -> bool:
        """Whether there is something for one more connection."""
        return any(self._may_send(statement) for statement in self._waiting)

    def take(self) -> Batch | None:
        """The next batch for one more connection, if there is one; `finish` must follow.

        Its calls are first come first served, in the order of their users: a batch locks the rows of its users one
        after the other and keeps them until its end, and batches that lock in the same order never wait for each other
        in a circle.
        """
        for statement in list(self._waiting):
            if self._may_send(statement):
                queue = self._waiting.pop(statement)
                most = 1 if statement.alone else self._sizes.get(statement, self._batch_size)
                batch = Batch(statement, self._pop(queue, min(most, max(UNDIVIDED_CALLS, len(queue) // 2))))
                if queue:
                    self._waiting[statement] = queue  # behind the others
                if batch.calls:
                    self._under_way[statement.writes].append(batch)
                    return batch
        return None

    def finish(self, batch: Batch, seconds: float) -> None:
        """Says that a batch is done, and how long it took."""
        self._under_way[batch.statement.writes].remove(batch)
        fitting = int(len(batch.calls) * BATCH_SECONDS / seconds) if seconds else self._batch_size
        self._sizes[batch.statement] = max(1, min(fitting, self._batch_size))

    def take_all(self) -> list[tuple[Statement, list[Call]]]:
        """All that waits, when there is no connection for it."""
        everything = [(statement, list(queue)) for statement, queue in self._waiting.items()]
        self._waiting.clear()
        return everything

    def overdue(self, now: float) -> list[tuple[Statement, list[Call]]]:
        """The calls that wait for their turn or for PostgreSQL, and shouldn't any more."""
        sent = [(batch.statement, batch.calls) for batches in self._under_way.values() for batch in batches]
        everything = [*self._waiting.items(), *sent]
        return [(statement, [call for call in calls if call.deadline < now]) for statement, calls in everything]

    def forget_answered(self) -> None:
        """Makes room for calls that still want to be sent."""
        queues = {
            statement: deque(call for call in queue if not call.answer.done())
            for statement, queue in self._waiting.items()
        }
        self._waiting = {statement: queue for statement, queue in queues.items() if queue}

    def _may_send(self, statement: Statement) -> bool:
        under_way = self._under_way[statement.writes]
        calls = sum(len(batch.calls) for batch in under_way if not batch.slow)
        return len(under_way) < self._share and calls < ENOUGH_CALLS

    def _pop(self, queue: deque[Call], size: int) -> list[Call]:
        calls: list[Call] = []
        while queue and len(calls) < size:
            call = queue.popleft()
            if not call.answer.done():  # by a timeout, or because its caller left
                call.sent = True
                calls.append(call)
        calls.sort(key=lambda call: repr(call.args[:1]))  # any order will do, if it is the same everywhere
        return calls
