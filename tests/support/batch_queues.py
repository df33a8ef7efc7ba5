"""Helpers for tests of a `BatchQueue`: statements, calls, and a clock."""

from asyncio import Future, new_event_loop

from todo_service.database.batching import BatchQueue
from todo_service.database.calls import PendingCall
from todo_service.database.locked_users import LOCK_RETRY_SECONDS
from todo_service.database.statements import Statement

LISTS, GETS = [Statement(f"test/{name}", "SELECT", writes=False) for name in ("lists", "gets")]
CREATES = Statement("test/creates", "INSERT", writes=True)
STATEMENTS = [LISTS, GETS, CREATES]

loop = new_event_loop()  # the event loop of the futures; their callbacks never run
loop.close()


def call(statement: Statement, user: str, deadline: float = 60) -> PendingCall:
    return PendingCall(statement, user, (user,), Future(loop=loop), deadline)


def fill(queue: BatchQueue, statement: Statement, *users: str) -> list[PendingCall]:
    """Adds a new call for each user."""
    calls = [call(statement, user) for user in users]
    for each in calls:
        queue.add(each)
    return calls


def queued(queue: BatchQueue, statement: Statement) -> int:
    """The number of waiting calls of a statement, without parked calls."""
    return len(queue._turns[statement].calls) if statement in queue._turns else 0


def take(queue: BatchQueue, statement: Statement, *, finish: bool = False) -> list[PendingCall]:
    """Takes the next batch, which must be of this statement, and returns its calls."""
    batch = queue.next_batch()
    assert batch is not None
    assert batch.statement is statement
    if finish:
        queue.finish(batch, 0)
    return batch.calls


def is_rejected(queue: BatchQueue, statement: Statement, user: str = "a") -> bool:
    """Whether one more call would be rejected, if calls may wait for 2.5 s."""
    return queue.should_reject(call(statement, user), 2.5)


class Clock:
    """The clock of a queue: a test sets its time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait_for_retry(self) -> None:
        self.now += LOCK_RETRY_SECONDS


def park(queue: BatchQueue, statement: Statement, *users: str) -> list[PendingCall]:
    """Parks new calls, as after a lock timeout."""
    calls = [call(statement, user) for user in users]
    for each in calls:
        queue.park(each)
    return calls
