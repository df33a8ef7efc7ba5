"""Finding the database again: past attempts that hang, at growing intervals, and with a word about it."""

import asyncio
import logging
import random
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import uvloop

from tests.support.calls import GATE, TRANSACTION, WRITE, gate, gather
from tests.support.database import Gateway, has_sessions, is_waiting, pauses_after, pool
from tests.support.pgbouncer import not_through_pgbouncer
from tests.support.processes import PATIENCE, until
from tests.support.servers import TcpServer
from todo_service.database import connecting, sending
from todo_service.database.connecting import SERVER_TCP_OPTIONS, TCP_OPTIONS, connect
from todo_service.database.statements import Statement
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database


class Forgetful(Gateway):
    """A gateway that passes on nothing of a connection that came while it was not passing, not even later."""

    def __init__(self, database_url: str) -> None:
        super().__init__(database_url)
        self.ever_forgotten = 0
        self.forgotten = 0  # connections that are still open
        self.most_forgotten = 0
        self.delay = 0.0

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.passing.is_set():
            await super()._connected(reader, writer)
            return
        self.ever_forgotten += 1
        self.forgotten += 1
        self.most_forgotten = max(self.most_forgotten, self.forgotten)
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        finally:
            self.forgotten -= 1
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.delay:
            slow = asyncio.StreamReader()
            async with asyncio.TaskGroup() as group:
                group.create_task(super()._pass(slow, writer))
                with suppress(ConnectionError):
                    while data := await reader.read(65_536):
                        await asyncio.sleep(self.delay)
                        slow.feed_data(data)
                slow.feed_eof()
        else:
            await super()._pass(reader, writer)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "todo_service.database.connecting"]


@pytest.fixture
async def gateway(database_url: str) -> AsyncIterator[Forgetful]:
    gateway = Forgetful(database_url)
    await gateway.open()
    yield gateway
    await gateway.close()


async def test_an_attempt_that_hangs_does_not_keep_others_from_a_network_that_is_back(
    settings: Settings, gateway: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "HEDGE_AFTER_SECONDS", 0.05)
    gateway.passing.clear()
    async with asyncio.timeout(PATIENCE), pool(settings, database_url=gateway.url, database_timeout=300) as database_:
        call = asyncio.create_task(database_.run(TRANSACTION, "x"))
        await until(lambda: gateway.ever_forgotten >= 8)
        gateway.passing.set()
        assert (await call)["user_id"] == "x"
    assert gateway.most_forgotten <= 3, "the first, the newest, and the one before, which has not noticed yet"


async def test_a_slow_server_can_be_connected_to(
    settings: Settings, gateway: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "HEDGE_AFTER_SECONDS", 0.05)
    gateway.delay = 0.2
    async with (
        asyncio.timeout(PATIENCE),
        pool(settings, database_url=gateway.url, database_timeout=PATIENCE) as database_,
    ):
        assert (await database_.run(TRANSACTION, "x"))["user_id"] == "x"


async def test_attempts_that_are_given_up_leave_no_connection(
    gateway: Forgetful, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "HEDGE_AFTER_SECONDS", 0.001)
    opened = await connect(gateway.url, server_settings={"application_name": "attempt"})
    await has_sessions(connection, 1, "attempt")
    assert await opened.fetchval("SELECT 1") == 1
    await opened.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such option")
async def test_the_system_notices_within_seconds_that_the_other_side_is_gone(gateway: Forgetful) -> None:
    opened = await connect(gateway.url)
    sock = opened._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    options = {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in TCP_OPTIONS}
    assert options == TCP_OPTIONS
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await opened.close()


async def test_while_the_database_is_away_the_log_tells_each_attempt_and_then_that_it_is_back(
    settings: Settings, gateway: Forgetful, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await gateway.close()
    async with asyncio.timeout(PATIENCE), pool(settings, database_url=gateway.url) as database_:
        for _ in range(3):
            with pytest.raises(Problem):
                await database_.run(TRANSACTION, "x")
        await gateway.open()
        assert (await database_.run(TRANSACTION, "x"))["user_id"] == "x"
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


async def test_a_server_that_refuses_the_connection_is_an_outage(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    parts = urlsplit(settings.database_url)
    async with pool(settings, database_url=urlunsplit(parts._replace(path="/no_such_database"))) as database_:
        with pytest.raises(Problem) as refused:
            await database_.run(TRANSACTION, "x")
    assert refused.value.name == "unavailable"
    assert lines_of(caplog)[0].startswith("the database is unreachable (")
    assert "no_such_database" in lines_of(caplog)[0]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("error", [KeyError("broken by the test"), asyncpg.ClientConfigurationError("x")])
async def test_a_mistake_while_connecting_is_logged_with_its_traceback_and_told_as_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async def connect(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(asyncpg, "connect", connect)
    async with pool(settings) as database_:
        with pytest.raises(type(error)):
            await database_.run(TRANSACTION, "x")
    assert lines_of(caplog)[0].startswith(f"the database is unreachable ({type(error).__name__}: ")
    assert "Traceback" in caplog.text


async def test_a_connection_that_the_pool_released_first_is_replaced(
    settings: Settings, gateway: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()
    release = asyncpg.Pool.release

    async def release_too_late(pool_: asyncpg.Pool, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        await release(pool_, connection)
        released.set()
        raise asyncpg.InternalClientError("PoolConnectionHolder.release() called on a free connection holder")

    async with pool(settings, database_url=gateway.url, database_pool_size=1) as database_:
        await database_.run(TRANSACTION, "x")
        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Pool, "release", release_too_late)
            gateway.cut()
            await gather(database_.run(TRANSACTION, "x"))  # which may notice the loss
            async with asyncio.timeout(PATIENCE):
                await released.wait()
        assert (await database_.run(TRANSACTION, "x"))["user_id"] == "x"


async def call_while_connections_are_cut(settings: Settings) -> Counter[str]:
    """Resets all connections 300 times, at any moment of a call; returns how many calls ended with which outcome."""
    gateway = Gateway(settings.database_url)
    outcomes: Counter[str] = Counter()
    done = asyncio.Event()

    async def call(statement: Statement) -> None:
        while not done.is_set():
            [outcome] = await gather(database_.run(statement, "x"))
            outcomes[outcome.name if isinstance(outcome, Problem) else type(outcome).__name__] += 1
            await asyncio.sleep(0.001)

    await gateway.open()
    async with (
        pool(settings, database_url=gateway.url, database_pool_size=4) as database_,
        asyncio.TaskGroup() as group,
    ):
        for number in range(20):
            group.create_task(call((TRANSACTION, WRITE)[number % 2]))
        for _ in range(300):
            await asyncio.sleep(random.random() * 0.02)
            gateway.cut()
        done.set()
    await gateway.close()
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_connections_that_are_cut_at_any_moment_are_outages_and_no_mistakes(
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
    records = [record for record in caplog.records if record.name.startswith("todo_service")]  # not the test's gateway
    assert [record.getMessage() for record in records if record.exc_info] == []


@not_through_pgbouncer
async def test_that_a_further_connection_cannot_be_had_is_logged_once_until_one_is(
    settings: Settings,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sending, "RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    attempts = 0

    async def refuse(_pool: asyncpg.Pool) -> None:
        nonlocal attempts
        attempts += 1
        raise asyncpg.TooManyConnectionsError("test")

    def told() -> int:
        return caplog.text.count("can't open one more connection (TooManyConnectionsError: test); 1 are open")

    async with pool(settings, database_pool_size=2) as database_:
        await until(lambda: len(database_._senders._unconnected) == 2)  # or the first call would open both
        async with gate(connection) as name:
            busy = asyncio.create_task(database_.run(GATE, name))
            await is_waiting(connection)
            with monkeypatch.context() as patch:
                patch.setattr(asyncpg.Pool, "_get_new_connection", refuse)
                write = asyncio.create_task(database_.run(WRITE, "b"))
                await until(lambda: attempts > 3)
                assert told() == 1
            assert (await write)["user_id"] == "b"
            assert not database_._senders._has_failed_to_connect
        await busy
    assert "Traceback" not in caplog.text


@not_through_pgbouncer
async def test_a_database_that_is_there_is_found_before_anybody_asks(
    settings: Settings, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await has_sessions(connection, 0)
    async with pool(settings):
        await has_sessions(connection, 1)
    assert lines_of(caplog) == []


@not_through_pgbouncer
async def test_the_server_is_asked_to_notice_that_we_are_gone(settings: Settings, tmp_path: Path) -> None:
    """What only a server shows that is connected to by TCP, unlike that of the other tests."""
    names = "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in SERVER_TCP_OPTIONS)
    with TcpServer(tmp_path).run() as url:
        async with pool(settings, database_url=url) as database_:
            row = await database_.run_without_user(Statement("test/names", names, writes=False))
    assert dict(row) == SERVER_TCP_OPTIONS
