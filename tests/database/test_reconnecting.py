"""Reconnecting: after an outage the service tries again at growing intervals, and logs each attempt."""

import asyncio
import logging
import random
import re
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import uvloop

from tests.support.calls import READ, WRITE, gather
from tests.support.database import Gateway, open_database, pauses_after
from tests.support.processes import TEST_TIMEOUT
from todo_service.database import connecting, sending
from todo_service.database.statements import Statement
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "todo_service.database.connecting"]


async def test_each_failed_attempt_and_the_reconnection_are_logged(
    settings: Settings, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await gateway.close()
    async with asyncio.timeout(TEST_TIMEOUT), open_database(settings, database_url=gateway.url) as database:
        for _ in range(3):
            with pytest.raises(Problem):
                await database.run(READ, "x")
        await gateway.open()
        assert (await database.run(READ, "x"))["user_id"] == "x"
    lines = lines_of(caplog)
    pauses = [
        float(match[1])
        for line in lines
        if (
            match := re.fullmatch(
                r"the database is unreachable \(ConnectionRefusedError: .*\); next attempt in ([0-9.]+) s", line
            )
        )
    ]
    assert len(pauses) >= 3
    assert pauses == pauses_after(len(pauses))
    assert lines[len(pauses) :] == ["the database is reachable again"]


async def test_a_refused_connection_is_logged_without_traceback(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    parts = urlsplit(settings.database_url)
    async with open_database(settings, database_url=urlunsplit(parts._replace(path="/no_such_database"))) as database:
        with pytest.raises(Problem) as caught:
            await database.run(READ, "x")
    assert caught.value.name == "unavailable"
    assert lines_of(caplog)[0].startswith("the database is unreachable (")
    assert "no_such_database" in lines_of(caplog)[0]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("error", [KeyError("broken by the test"), asyncpg.ClientConfigurationError("x")])
async def test_a_mistake_while_connecting_is_raised_and_logged_with_traceback(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async def connect(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(asyncpg, "connect", connect)
    async with open_database(settings) as database:
        with pytest.raises(type(error)):
            await database.run(READ, "x")
    assert lines_of(caplog)[0].startswith(f"the database is unreachable ({type(error).__name__}: ")
    assert "Traceback" in caplog.text


async def test_a_connection_that_the_pool_has_released_is_replaced(
    settings: Settings, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()
    release = asyncpg.Pool.release

    async def release_too_late(pool_: asyncpg.Pool, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        await release(pool_, connection)
        released.set()
        raise asyncpg.InternalClientError("PoolConnectionHolder.release() called on a free connection holder")

    async with open_database(settings, database_url=gateway.url, database_pool_size=1) as database:
        await database.run(READ, "x")
        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Pool, "release", release_too_late)
            gateway.cut()
            await gather(database.run(READ, "x"))  # this call may get the error
            async with asyncio.timeout(TEST_TIMEOUT):
                await released.wait()
        assert (await database.run(READ, "x"))["user_id"] == "x"


async def call_while_connections_are_cut(settings: Settings) -> Counter[str]:
    """Resets all connections 300 times, at random moments of calls. Returns the number of calls for each outcome."""
    gateway = Gateway(settings.database_url)
    outcomes: Counter[str] = Counter()
    done = asyncio.Event()

    async def call(statement: Statement) -> None:
        while not done.is_set():
            [outcome] = await gather(database.run(statement, "x"))
            outcomes[outcome.name if isinstance(outcome, Problem) else type(outcome).__name__] += 1
            await asyncio.sleep(0.001)

    await gateway.open()
    async with (
        open_database(settings, database_url=gateway.url, database_pool_size=4) as database,
        asyncio.TaskGroup() as group,
    ):
        for number in range(20):
            group.create_task(call((READ, WRITE)[number % 2]))
        for _ in range(300):
            await asyncio.sleep(random.random() * 0.02)
            gateway.cut()
        done.set()
    await gateway.close()
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_connection_resets_at_any_moment_are_outages_and_not_mistakes(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    new_event_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    monkeypatch.setattr(connecting, "BACKOFF", (0.001,))
    monkeypatch.setattr(sending, "RECONNECT_SECONDS", 0.001)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        outcomes = runner.run(call_while_connections_are_cut(settings))
    assert outcomes.keys() <= {"Record", "unavailable", "outcome-unknown"}
    assert outcomes["unavailable"] > 0
    records = [record for record in caplog.records if record.name.startswith("todo_service")]
    assert [record.getMessage() for record in records if record.exc_info] == []
