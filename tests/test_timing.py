"""How long an answer takes does not tell whether a task that isn't yours is there."""

import random
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from tests.api import TASKS, Api

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("timing")]

PAIRS = 600
TASKS_OF_OWNER = 20
NOISE = 0.12
"""How far from a half the share of pairs may be in which the one took longer than the other: were they the same, it
would be out of this once in 100 million times (six times 0.5 / sqrt(PAIRS))."""

Request = Callable[[], Awaitable[None]]


async def share_of_slower(one: Request, another: Request) -> float:
    """In which share of pairs `one` took longer. Of a pair either may be first, and what disturbs one disturbs both."""
    slower = 0
    for _ in range(PAIRS):
        seconds = {}
        for request in random.sample([one, another], 2):
            began = time.perf_counter()
            await request()
            seconds[request] = time.perf_counter() - began
        slower += seconds[one] > seconds[another]
    return slower / PAIRS


def asking(api: Api, method: str, suffix: str, ids: list[str], status: int) -> Request:
    async def request() -> None:
        response = await api.call(method, f"{TASKS}/{random.choice(ids)}{suffix}")
        assert response.status == status
        await response.read()

    return request


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("PATCH", "/complete")])
async def test_anothers_task_takes_as_long_as_none(owner: Api, stranger: Api, method: str, suffix: str) -> None:
    await stranger.create()
    theirs = [(await owner.create())["id"] for _ in range(TASKS_OF_OWNER)]
    nothing = [str(uuid4()) for _ in range(TASKS_OF_OWNER)]

    share = await share_of_slower(
        asking(stranger, method, suffix, theirs, 404), asking(stranger, method, suffix, nothing, 404)
    )

    assert abs(share - 0.5) < NOISE


async def test_a_difference_would_be_found(owner: Api) -> None:
    """The same between one's own tasks and none, where one statement does a little more for the one: it writes."""
    mine = [(await owner.create())["id"] for _ in range(TASKS_OF_OWNER)]
    nothing = [str(uuid4()) for _ in range(TASKS_OF_OWNER)]

    share = await share_of_slower(
        asking(owner, "PATCH", "/complete", mine, 200), asking(owner, "PATCH", "/complete", nothing, 404)
    )

    assert share > 0.5 + NOISE
