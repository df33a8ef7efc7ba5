"""Rejections: under overload, calls that would wait too long are rejected at once, and all other calls succeed."""

import asyncio

import asyncpg
import pytest

from tests.support.batch_queues import GETS, LISTS, fill, is_rejected, queued, take
from tests.support.calls import WAIT_FOR_LOCK, advisory_lock, create, gather, users
from tests.support.database import open_database, wait_for_blocked_session
from tests.support.processes import wait_until
from todo_service.database import batching
from todo_service.database.batching import MAX_QUEUED, MIN_QUEUE_BEFORE_REJECTING, BatchQueue
from todo_service.database.statements import Statement
from todo_service.problems import Problem
from todo_service.settings import Settings

SECONDS = 0.02
SEARCH = Statement("test/search", f"SELECT pg_sleep({SECONDS})::text, $1::text", writes=False, unbatched=True)


# The rule in the batch queue


@pytest.mark.parametrize(("seconds_per_batch", "limit"), [(0.01, 2_500), (0.1, 250), (10, MIN_QUEUE_BEFORE_REJECTING)])
def test_calls_are_rejected_if_their_estimated_wait_is_too_long(seconds_per_batch: float, limit: int) -> None:
    now = 0.0
    queue = BatchQueue(1, 10, lambda: now)
    fill(queue, GETS, *"a" * 9_000)
    assert not is_rejected(queue, GETS)  # no drain rate has been measured yet
    for _ in range(4):
        take(queue, GETS, finish=True)
        now += seconds_per_batch
    while queued(queue, GETS) > limit + 1:
        queue._turns[GETS].calls.pop()
    assert is_rejected(queue, GETS)
    for _ in range(2):
        queue._turns[GETS].calls.pop()
    assert not is_rejected(queue, GETS)


def test_calls_are_rejected_if_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_QUEUED", 100)
    queue = BatchQueue(1, 10)
    fill(queue, GETS, *"a" * 99)
    assert not is_rejected(queue, GETS)
    fill(queue, LISTS, "a")
    assert is_rejected(queue, GETS)
    assert not is_rejected(queue, LISTS)
    assert MAX_QUEUED == 10_000


def test_the_drain_rate_excludes_times_with_an_empty_queue() -> None:
    now = 0.0
    queue = BatchQueue(1, 32, lambda: now)
    for _ in range(3):
        fill(queue, GETS, "a")
        take(queue, GETS, finish=True)
        now += 60
    fill(queue, GETS, *"a" * 1_000)
    assert not is_rejected(queue, GETS)


def test_the_drain_rate_is_measured_anew_after_an_outage() -> None:
    now = 0.0
    queue = BatchQueue(1, 32, lambda: now)
    fill(queue, GETS, *"a" * 64)
    take(queue, GETS, finish=True)
    queue.clear()
    now = 60
    for _ in range(10):
        fill(queue, GETS, *"a" * (MIN_QUEUE_BEFORE_REJECTING - queued(queue, GETS)))
        take(queue, GETS, finish=True)
        now += 0.005
    fill(queue, GETS, *"a" * 1_000)
    assert not is_rejected(queue, GETS)


def test_the_drain_rate_recovers_from_a_slow_batch_within_a_few_calls() -> None:
    now = 0.0
    queue = BatchQueue(1, 32, lambda: now)
    for seconds in [60, *[0.005] * 200]:
        fill(queue, GETS, *"a" * (MIN_QUEUE_BEFORE_REJECTING - queued(queue, GETS)))
        take(queue, GETS, finish=True)
        now += seconds
    fill(queue, GETS, *"a" * 1_000)
    assert not is_rejected(queue, GETS)


# With PostgreSQL


@pytest.mark.database
async def test_calls_beyond_the_limit_are_rejected_and_all_others_succeed(settings: Settings) -> None:
    """Sends 250 calls at once; two connections can run 25 within the allowed wait.

    MIN_QUEUE_BEFORE_REJECTING calls are accepted. They succeed even on a slow machine, because DATABASE_TIMEOUT is
    far longer than their wait.
    """
    async with open_database(settings, database_pool_size=2) as database:
        database._max_wait = 25 * SECONDS
        await gather(*(database.run(SEARCH, "x") for _ in range(10)))  # the queue measures its drain rate
        outcomes = await gather(*(database.run(SEARCH, "x") for _ in range(250)))
    rows = [outcome for outcome in outcomes if isinstance(outcome, asyncpg.Record)]
    rejections = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert len(rows) + len(rejections) == 250
    assert len(rows) == MIN_QUEUE_BEFORE_REJECTING
    assert all(problem.name == "unavailable" and problem.headers for problem in rejections)
    assert not [problem for problem in rejections if problem.__cause__], "a call timed out instead of being rejected"


@pytest.mark.database
@pytest.mark.usefixtures("long_lock_timeout")
async def test_a_full_queue_rejects_calls_of_its_statement_only(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MAX_QUEUED", 40)
    async with open_database(settings, database_pool_size=2, database_batch_size=5) as database:
        async with advisory_lock(connection) as name:
            in_flight = [asyncio.create_task(database.run(WAIT_FOR_LOCK, name)) for _ in range(5)]
            await wait_for_blocked_session(connection)
            waiting = [asyncio.create_task(database.run(WAIT_FOR_LOCK, name)) for _ in range(batching.MAX_QUEUED)]
            await wait_until(lambda: database.waiting_calls == batching.MAX_QUEUED)

            with pytest.raises(Problem) as caught:
                await database.run(WAIT_FOR_LOCK, name)
            # The second call is added while the first one waits for its turn.
            created = await asyncio.gather(*(create(database, user_id) for user_id in users(2)))

            assert caught.value.name == "unavailable"
            assert caught.value.headers == {"Retry-After": "1"}
            assert [task["revision"] for task in created] == [1, 1]
            assert not any(task.done() for task in in_flight + waiting)
        await asyncio.gather(*in_flight, *waiting)
