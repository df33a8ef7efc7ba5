"""Users whose rows somebody else has locked: they wait, and nobody waits with them."""

import asyncio

import asyncpg
import pytest

from tests.support.calls import create, creation, tasks_of, users
from tests.support.database import is_waiting, pool
from tests.support.processes import until
from todo_service.database import sending
from todo_service.handlers.tasks import CREATE_TASK, LIST_TASKS
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database


async def lock_attempts(observer: asyncpg.Connection) -> None:
    """Until a call that met a lock was sent again a few times."""
    for _ in range(3):
        await is_waiting(observer)
        await asyncio.sleep(sending.DEADLINE_POLL_SECONDS * 1.5)


@pytest.mark.parametrize("calls", [1, 25])
async def test_a_locked_user_waits_alone_and_is_served_when_the_lock_is_gone(
    settings: Settings, connection: asyncpg.Connection, observer: asyncpg.Connection, calls: int
) -> None:
    locked, *others = users(7)
    async with pool(settings, database_pool_size=1) as database_:
        await create(database_, locked)
        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", locked)
            waiting = [asyncio.create_task(create(database_, user_id)) for user_id in [locked] * calls]
            assert [
                task["revision"] for task in await asyncio.gather(*(create(database_, each) for each in others))
            ] == [1] * 6
            await lock_attempts(observer)
            waiting.append(asyncio.create_task(create(database_, locked)))
            assert [
                task["revision"] for task in await asyncio.gather(*(create(database_, each) for each in others))
            ] == [2] * 6
            assert not any(task.done() for task in waiting)
        created = await asyncio.gather(*waiting)
    assert sorted(task["revision"] for task in created) == list(range(2, calls + 3))


async def test_a_locked_user_is_unavailable_in_the_end_and_reads_meanwhile(
    settings: Settings, connection: asyncpg.Connection, timeout_of_the_locked: int
) -> None:
    [locked] = users(1)
    async with pool(settings, database_pool_size=2, database_timeout=timeout_of_the_locked) as database_:
        await create(database_, locked)
        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", locked)
            waiting = asyncio.gather(
                *(database_.run(CREATE_TASK, *creation(locked)) for _ in range(3)), return_exceptions=True
            )
            assert (await database_.run(LIST_TASKS, locked, 10, None))["body"] != "[]"
            answers = await waiting
    assert [answer.name for answer in answers if isinstance(answer, Problem)] == ["unavailable"] * 3
    assert await tasks_of(connection, locked) == 1


async def test_a_locked_table_is_waited_for_and_everybody_is_served_afterwards(
    settings: Settings, connection: asyncpg.Connection, observer: asyncpg.Connection
) -> None:
    everybody = users(40)
    async with pool(settings) as database_:
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            calls = [asyncio.create_task(create(database_, user_id)) for user_id in everybody]
            await lock_attempts(observer)
            assert not any(call.done() for call in calls)
        assert [task["revision"] for task in await asyncio.gather(*calls)] == [1] * 40


async def test_a_user_whose_lock_is_gone_is_served_although_the_first_call_has_expired(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    """No other request comes that would have the next parked call retried."""
    [locked] = users(1)
    async with pool(settings) as database_:
        await create(database_, locked)
        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", locked)
            first = asyncio.create_task(create(database_, locked))
            await until(lambda: len(database_._queue._locked_users) == 1)
            [call] = database_._unanswered
            later = asyncio.create_task(create(database_, locked))
            await until(lambda: len(database_._unanswered) == 2)
            call.deadline = 0
            with pytest.raises(Problem):
                await first
        assert (await later)["revision"] == 2
