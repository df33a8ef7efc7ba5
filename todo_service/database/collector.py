"""Collects the calls that wait for a connection into batches: fair between statements, and safe from deadlocks."""

import time
from asyncio import Future
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

from todo_service.database.pace import Pace
from todo_service.database.statements import Statement

ENOUGH_CALLS = 10
"""While so many are under way, others wait for their answer, although a connection is idle: a round trip costs the
service as much as two requests, and several transactions at once cost PostgreSQL more than one after the other."""

UNDIVIDED_CALLS = 16
"""Of more than these a batch leaves half for the next: PostgreSQL is to have work while the service handles answers."""

LAST_TRY = 0.5
"""Seconds before its deadline after which a call that met a lock isn't sent again: that it had no effect is certain."""

FEW_CALLS = 2 * UNDIVIDED_CALLS
"""So many may wait for their turn, however long that takes: more than a batch takes, so that their pace is measured."""

MOST_CALLS = 10_000
"""So many may wait for their turn, of all statements, however short that takes: each needs some 10 kB of memory."""

MOST_LOCKED_CALLS = 1_000
"""So many of one user may wait for a lock: once it is gone they are served like all others', and before later ones."""

MANY_STATEMENTS = 25
"""More than there are: while fewer than that part of the most wait for each, all are fewer, and needn't be counted."""

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
    again: bool = False
    """Whether it is a call that met a lock before."""


_User = tuple[bool, tuple[object, ...]]
"""Whose calls meet the same locks: writes or reads of one user."""


def _user(statement: Statement, args: tuple[object, ...]) -> _User:
    return statement.writes, args[:1]


class Collector:
    """The waiting calls of each statement, which take turns, and the batches under way.

    A call that met a lock is set aside, with what its user sends after it, and tried again alone, one user at a time:
    who is locked must not hold up the others of a batch, or take all connections.
    """

    def __init__(self, connections: int, batch_size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = max(connections - 1, 1)  # slow reads leave a connection to the writes, and the other way round
        self._batch_size = batch_size
        self._clock = clock
        self._sizes: dict[Statement, int] = {}  # of the next batch
        self._paces: dict[Statement, Pace] = {}
        self._waiting: dict[Statement, deque[Call]] = {}  # none is empty; the one whose turn it is comes first
        self._under_way: dict[bool, list[Batch]] = {False: [], True: []}  # reads and writes
        self._locked: dict[_User, deque[tuple[Statement, Call]]] = {}  # the one whose turn it is comes first
        self._trying: _User | None = None
        self._may_try = False

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting or self._locked)

    def add(self, statement: Statement, call: Call) -> None:
        """Lets a call wait for its turn."""
        if self._locked and (user := _user(statement, call.args)) in self._locked:
            self._locked[user].append((statement, call))
            return
        queue = self._waiting.get(statement)
        if queue is None:
            self._waiting[statement] = queue = deque()
            if statement not in self._paces:
                self._paces[statement] = Pace()
        queue.append(call)

    def waiting(self, statement: Statement) -> int:
        """How many calls of a statement wait for their turn."""
        return len(self._waiting.get(statement, ()))

    @property
    def has_locked(self) -> bool:
        """Whether somebody waits for a lock."""
        return bool(self._locked)

    def is_too_long(self, waiting: int, statement: Statement, args: tuple[object, ...], seconds: float) -> bool:
        """Whether one more would wait longer than that, or too many wait already, of all or for its user's lock."""
        if self._locked and len(self._locked.get(_user(statement, args), ())) >= MOST_LOCKED_CALLS:
            return True
        if waiting < FEW_CALLS:
            return False
        if waiting * self._paces[statement].seconds_per_call > seconds:
            return True
        return waiting >= MOST_CALLS // MANY_STATEMENTS and self.all_waiting() >= MOST_CALLS

    def all_waiting(self) -> int:
        """How many calls of all statements wait for their turn, or for a lock."""
        return sum(map(len, self._waiting.values())) + sum(map(len, self._locked.values()))

    def is_ready(self) -> bool:
        """Whether there is something for one more connection."""
        return self._may_try_again() or any(self._may_send(statement) for statement in self._waiting)

    def set_aside(self, statement: Statement, call: Call) -> None:
        """Takes back a call that met a lock, or would meet the same one; `try_again` should follow in a while."""
        call.sent = False
        user = _user(statement, call.args)
        self._locked.setdefault(user, deque()).appendleft((statement, call))
        if user == self._trying:
            self._trying, self._may_try = None, False

    def try_again(self) -> None:
        """Allows to send one of the calls that were set aside, and more of them once that one met no lock."""
        self._may_try = True

    def take(self) -> Batch | None:
        """The next batch for one more connection, if there is one; `finish` must follow.

        Its calls are first come first served, in the order of their users: a batch locks the rows of its users one
        after the other and keeps them until its end, and batches that lock in the same order never wait for each other
        in a circle.
        """
        if self._may_try_again() and (batch := self._take_again()):
            return batch
        for statement in list(self._waiting):
            if self._may_send(statement):
                queue = self._waiting.pop(statement)
                most = 1 if statement.alone else self._sizes.get(statement, self._batch_size)
                batch = Batch(statement, self._pop(queue, min(most, max(UNDIVIDED_CALLS, len(queue) // 2))))
                if queue:
                    self._waiting[statement] = queue  # behind the others
                self._paces[statement].take(len(batch.calls), self._clock(), last=not queue)
                if batch.calls:
                    self._under_way[statement.writes].append(batch)
                    return batch
        return None

    def finish(self, batch: Batch, seconds: float) -> None:
        """Says that a batch is done, and how long it took."""
        self._under_way[batch.statement.writes].remove(batch)
        if batch.again:
            self._finish_again()
            return
        fitting = int(len(batch.calls) * BATCH_SECONDS / seconds) if seconds else self._batch_size
        self._sizes[batch.statement] = max(1, min(fitting, self._batch_size))

    def take_all(self) -> list[tuple[Statement, list[Call]]]:
        """All that waits, when there is no connection for it."""
        everything = [(statement, list(queue)) for statement, queue in self._waiting.items()]
        everything += self._set_aside()
        self._waiting.clear()
        self._locked.clear()
        self._paces.clear()
        return everything

    def overdue(self, now: float) -> list[tuple[Statement, list[Call]]]:
        """The calls that wait for their turn or for PostgreSQL, and shouldn't any more."""
        sent = [(batch.statement, batch.calls) for batches in self._under_way.values() for batch in batches]
        everything = [*self._waiting.items(), *sent]
        late = [(statement, [call for call in calls if call.deadline < now]) for statement, calls in everything]
        return late + [
            (statement, calls) for statement, calls in self._set_aside() if calls[0].deadline < now + LAST_TRY
        ]

    def forget_answered(self) -> None:
        """Makes room for calls that still want to be sent."""
        queues = {
            statement: deque(call for call in queue if not call.answer.done())
            for statement, queue in self._waiting.items()
        }
        self._waiting = {statement: queue for statement, queue in queues.items() if queue}
        for statement in queues.keys() - self._waiting.keys():
            del self._paces[statement]  # what comes next is measured from then on
        aside = {
            user: deque(each for each in calls if not each[1].answer.done()) for user, calls in self._locked.items()
        }
        self._locked = {user: calls for user, calls in aside.items() if calls or user == self._trying}

    def _set_aside(self) -> list[tuple[Statement, list[Call]]]:
        return [(statement, [call]) for calls in self._locked.values() for statement, call in calls]

    def _may_try_again(self) -> bool:
        return self._may_try and self._trying is None and any(self._has_room(writes) for writes, _ in self._locked)

    def _has_room(self, writes: bool) -> bool:
        return len(self._under_way[writes]) < self._share

    def _take_again(self) -> Batch | None:
        """One call of the user whose turn it is."""
        soon = self._clock() + LAST_TRY
        for user, calls in list(self._locked.items()):
            while calls and calls[0][1].answer.done():
                calls.popleft()
            if calls and calls[0][1].deadline > soon and self._has_room(user[0]):
                self._locked[user] = self._locked.pop(user)  # behind the others
                statement, call = calls.popleft()
                self._trying, self._may_try, call.sent = user, False, True
                batch = Batch(statement, [call], slow=True, again=True)
                self._under_way[statement.writes].append(batch)
                return batch
        return None

    def _finish_again(self) -> None:
        """Lets the calls of a user who is not locked any more wait like all others."""
        if self._trying is not None:  # nothing of this user was set aside again
            for statement, call in self._locked.pop(self._trying, ()):
                self.add(statement, call)
            self._trying, self._may_try = None, True

    def _may_send(self, statement: Statement) -> bool:
        calls = sum(len(batch.calls) for batch in self._under_way[statement.writes] if not batch.slow)
        return self._has_room(statement.writes) and calls < ENOUGH_CALLS

    def _pop(self, queue: deque[Call], size: int) -> list[Call]:
        calls: list[Call] = []
        while queue and len(calls) < size:
            call = queue.popleft()
            if not call.answer.done():  # by a timeout, or because its caller left
                call.sent = True
                calls.append(call)
        calls.sort(key=lambda call: repr(call.args[:1]))  # any order will do, if it is the same everywhere
        return calls
