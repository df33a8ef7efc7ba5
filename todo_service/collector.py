"""Collects the calls that wait for a connection into batches: fair between statements, and safe from deadlocks."""

from asyncio import Future
from collections import deque
from dataclasses import dataclass

import asyncpg

from todo_service.statements import Statement

WORTH_A_ROUND_TRIP = 10  # calls; fewer are not shared out among free connections


@dataclass(eq=False, slots=True)
class Call:
    """One execution of a statement, and the row or the error that its caller waits for."""

    args: tuple[object, ...]
    answer: Future[asyncpg.Record]
    deadline: float
    """When its caller won't wait any longer, in the event loop's time."""
    sent: bool = False


class Collector:
    """The waiting calls of each statement, which take turns."""

    def __init__(self, connections: int, batch_size: int) -> None:
        self._share = max(connections - 1, 1)  # slow reads leave a connection to the writes, and the other way round
        self._batch_size = batch_size
        self._waiting: dict[Statement, deque[Call]] = {}  # none is empty; the one whose turn it is comes first
        self._in_flight: list[tuple[Statement, list[Call]]] = []

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

    def take(self, free: int) -> tuple[Statement, list[Call]] | None:
        """The next batch for one of so many free connections, if there is one; `finish` must follow.

        It has calls of one statement, first come first served, in the order of their users: a batch locks the rows of
        its users one after the other and keeps them until its end, and batches that lock in the same order never wait
        for each other in a circle.
        """
        for statement in list(self._waiting):
            if self._batches(writes=statement.writes) < self._share:
                queue = self._waiting.pop(statement)
                calls = self._pop(queue, min(self._batch_size, max(WORTH_A_ROUND_TRIP, -(-len(queue) // free))))
                if queue:
                    self._waiting[statement] = queue  # behind the others
                if calls:
                    self._in_flight.append((statement, calls))
                    return statement, calls
        return None

    def finish(self, statement: Statement, calls: list[Call]) -> None:
        """Says that a batch is done."""
        self._in_flight.remove((statement, calls))

    def take_all(self) -> list[tuple[Statement, list[Call]]]:
        """All that waits, when there is no connection for it."""
        everything = [(statement, list(queue)) for statement, queue in self._waiting.items()]
        self._waiting.clear()
        return everything

    def overdue(self, now: float) -> list[tuple[Statement, Call]]:
        """The calls that wait for their turn or for PostgreSQL, and shouldn't any more."""
        everything = [*self._waiting.items(), *self._in_flight]
        return [(statement, call) for statement, calls in everything for call in calls if call.deadline < now]

    def forget_answered(self) -> None:
        """Makes room for calls that still want to be sent."""
        queues = {
            statement: deque(call for call in queue if not call.answer.done())
            for statement, queue in self._waiting.items()
        }
        self._waiting = {statement: queue for statement, queue in queues.items() if queue}

    def _batches(self, *, writes: bool) -> int:
        return sum(statement.writes is writes for statement, _ in self._in_flight)

    def _pop(self, queue: deque[Call], size: int) -> list[Call]:
        calls: list[Call] = []
        while queue and len(calls) < size:
            call = queue.popleft()
            if not call.answer.done():  # by a timeout, or because its caller left
                call.sent = True
                calls.append(call)
        calls.sort(key=lambda call: repr(call.args[:1]))  # any order will do, if it is the same everywhere
        return calls
