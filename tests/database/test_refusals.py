"""What is too much is refused before it waits, and takes nothing from those who wait."""

import asyncio

import asyncpg
import pytest

from tests.support.calls import gather
from tests.support.database import pool
from todo_service.database.batching import MIN_QUEUE_BEFORE_REJECTING
from todo_service.database.statements import Statement
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database

SECONDS = 0.02
SEARCH = Statement("test/search", f"SELECT pg_sleep({SECONDS})::text, $1::text", writes=False, unbatched=True)


async def test_who_would_wait_too_long_is_refused_and_nobody_waits_in_vain(settings: Settings) -> None:
    """Ten times as many as the connections can serve in the time for which a call may wait.

    Of these more may wait anyhow, however slow the machine is: its time to answer them is far longer.
    """
    async with pool(settings, database_pool_size=2) as database_:
        database_._max_wait = 25 * SECONDS
        await gather(*(database_.run(SEARCH, "x") for _ in range(10)))  # now it is known how long they take
        answers = await gather(*(database_.run(SEARCH, "x") for _ in range(250)))
    served = [answer for answer in answers if isinstance(answer, asyncpg.Record)]
    refused = [answer for answer in answers if isinstance(answer, Problem)]
    assert len(served) + len(refused) == 250
    assert len(served) == MIN_QUEUE_BEFORE_REJECTING
    assert all(problem.name == "unavailable" and problem.headers for problem in refused)
    assert not [problem for problem in refused if problem.__cause__]  # none of them was refused by a timeout


async def test_a_short_burst_is_served_however_slow(settings: Settings) -> None:
    async with pool(settings, database_pool_size=2) as database_:
        database_._max_wait = SECONDS
        for _ in range(2):
            answers = await gather(*(database_.run(SEARCH, "x") for _ in range(16)))
            assert all(isinstance(answer, asyncpg.Record) for answer in answers)
            await asyncio.sleep(0)
