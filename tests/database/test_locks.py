"""Locks of PostgreSQL: blocked calls wait and are retried, delay no other user, and succeed or get 503."""

import asyncio

import asyncpg
import pytest

from tests.support.api import TASKS, path_of
from tests.support.calls import create, users
from tests.support.database import StartService, assert_503, open_database, wait_for_blocked_session
from tests.support.processes import wait_until
from todo_service.database import sending
from todo_service.database.database import Database
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database


async def wait_for_retries(observer: asyncpg.Connection) -> None:
    """Waits until a blocked call has been sent a few times."""
    for _ in range(3):
        await wait_for_blocked_session(observer)
        await asyncio.sleep(sending.DEADLINE_POLL_SECONDS * 1.5)


async def create_revisions(database: Database, user_ids: list[str]) -> list[int]:
    """Creates a task for each user, all at the same time. Returns their revisions."""
    return [task["revision"] for task in await asyncio.gather(*(create(database, each) for each in user_ids))]


@pytest.mark.parametrize("calls", [1, 25])
async def test_calls_of_a_locked_user_wait_for_the_lock_and_delay_no_other_user(
    settings: Settings, connection: asyncpg.Connection, observer: asyncpg.Connection, calls: int
) -> None:
    locked, *others = users(7)
    async with open_database(settings, database_pool_size=1) as database:
        await create(database, locked)
        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", locked)
            waiting = [asyncio.create_task(create(database, user_id)) for user_id in [locked] * calls]
            assert await create_revisions(database, others) == [1] * 6
            await wait_for_retries(observer)
            waiting.append(asyncio.create_task(create(database, locked)))
            assert await create_revisions(database, others) == [2] * 6
            assert not any(task.done() for task in waiting)
        created = await asyncio.gather(*waiting)
    assert sorted(task["revision"] for task in created) == list(range(2, calls + 3))


async def test_calls_wait_for_a_locked_table_and_succeed_once_it_is_unlocked(
    settings: Settings, connection: asyncpg.Connection, observer: asyncpg.Connection
) -> None:
    async with open_database(settings) as database:
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            calls = [asyncio.create_task(create(database, user_id)) for user_id in users(40)]
            await wait_for_retries(observer)
            assert not any(call.done() for call in calls)
        assert [task["revision"] for task in await asyncio.gather(*calls)] == [1] * 40


async def test_a_parked_call_succeeds_after_an_earlier_call_has_expired(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    """The next parked call is retried although no new call wakes a sender."""
    [locked] = users(1)
    async with open_database(settings) as database:
        await create(database, locked)
        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", locked)
            first = asyncio.create_task(create(database, locked))
            await wait_until(lambda: len(database._queue._locked_users) == 1)
            [call] = database._unanswered
            later = asyncio.create_task(create(database, locked))
            await wait_until(lambda: len(database._unanswered) == 2)
            call.deadline = 0
            with pytest.raises(Problem):
                await first
        assert (await later)["revision"] == 2


async def test_writes_of_a_locked_user_get_503_and_are_not_applied(
    start_service: StartService, connection: asyncpg.Connection, short_lock_retry_timeout: int
) -> None:
    owner, other = (
        await start_service(database_timeout=short_lock_retry_timeout, database_pool_size=2),
        await start_service(),
    )
    task = await owner.create()
    async with connection.transaction():
        await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", owner.user_id)
        writes = asyncio.gather(
            *(owner.call("POST", TASKS, json={"title": "x"}) for _ in range(3)),
            owner.call("PATCH", path_of(task), json={"title": "x"}),
            owner.call("DELETE", path_of(task)),
        )
        await other.create()
        assert await owner.tasks() == [task]
        assert not writes.done()
        for response in await writes:
            await assert_503(response, "unavailable")
    assert await owner.tasks() == [task]
    assert (await owner.create())["revision"] == task["revision"] + 1
