"""Connecting: database URLs, the settings of connections and sessions, and hedged attempts."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from tests.support.calls import READ
from tests.support.database import (
    SHOW_SETTINGS,
    Gateway,
    StartService,
    assert_503,
    open_database,
    wait_for_session_count,
)
from tests.support.pgbouncer import not_through_pgbouncer
from tests.support.postgres_servers import TcpServer
from tests.support.processes import TEST_TIMEOUT, wait_until
from todo_service.database import connecting
from todo_service.database.connecting import SERVER_TCP_OPTIONS, TCP_OPTIONS, connect
from todo_service.database.statements import Statement
from todo_service.settings import Settings, read_settings

pytestmark = pytest.mark.database


class DroppingGateway(Gateway):
    """If a connection is opened while this gateway is frozen, the gateway never forwards its data."""

    def __init__(self, database_url: str) -> None:
        super().__init__(database_url)
        self.dropped_in_total = 0
        self.dropped = 0  # open connections whose data is dropped
        self.most_dropped = 0
        self.delay = 0.0

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.passing.is_set():
            await super()._connected(reader, writer)
            return
        self.dropped_in_total += 1
        self.dropped += 1
        self.most_dropped = max(self.most_dropped, self.dropped)
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        finally:
            self.dropped -= 1
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


@pytest.fixture
async def dropping_gateway(database_url: str) -> AsyncIterator[DroppingGateway]:
    gateway = DroppingGateway(database_url)
    await gateway.open()
    yield gateway
    await gateway.close()


# URLs


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?sslmode=disable",
        "?sslmode=prefer",
        "?sslmode=disable&channel_binding=require",
        "?connect_timeout=10&keepalives=1&keepalives_idle=30&tcp_user_timeout=1000&gssencmode=disable",
        "?pgbouncer=true&connection_limit=1&pool_timeout=0",
        "?supa=base-pooler.x&client_encoding=auto",
        "?target_session_attrs=read-write&application_name=theirs&fallback_application_name=x",
        pytest.param("?options=-c%20geqo%3Doff", marks=not_through_pgbouncer),
    ],
)
@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
async def test_database_urls_of_hosting_providers_work(
    settings: Settings, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, scheme: str, query: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", gateway.url.replace("postgres://", f"{scheme}://") + query)
    async with open_database(settings, database_url=read_settings("database_url").database_url) as database:
        row = await database.run_without_user(SHOW_SETTINGS)
    assert row["application_name"] == "todo-service"
    assert row["geqo"] == ("off" if "geqo" in query else "on")


async def test_sslmode_require_refuses_a_server_without_tls(start_service: StartService, gateway: Gateway) -> None:
    owner = await start_service(database_url=f"{gateway.url}?sslmode=require")
    await assert_503(await owner.client.get("/health/ready"), "unavailable")


# Settings


@pytest.mark.parametrize("statement_cache", [pytest.param(100, marks=not_through_pgbouncer), 0])
async def test_statements_run_with_the_session_settings_of_the_service(
    settings: Settings, statement_cache: int
) -> None:
    async with open_database(settings, database_timeout=20, database_statement_cache=statement_cache) as database:
        assert dict(await database.run_without_user(SHOW_SETTINGS)) == {
            "application_name": "todo-service",
            "jit": "off",
            "lock_timeout": connecting.LOCK_TIMEOUT,
            "plan_cache_mode": "force_generic_plan",
            "statement_timeout": "18s",
            "geqo": "on",
        }


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the operating system has no TCP_USER_TIMEOUT")
async def test_connections_have_short_tcp_timeouts(dropping_gateway: DroppingGateway) -> None:
    opened = await connect(dropping_gateway.url)
    sock = opened._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    options = {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in TCP_OPTIONS}
    assert options == TCP_OPTIONS
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await opened.close()


@not_through_pgbouncer
async def test_the_server_has_short_tcp_timeouts_for_sessions(settings: Settings, tmp_path: Path) -> None:
    """Only a server with a TCP address shows these settings. The server of the other tests has a Unix socket."""
    names = "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in SERVER_TCP_OPTIONS)
    with TcpServer(tmp_path).run() as url:
        async with open_database(settings, database_url=url) as database:
            row = await database.run_without_user(Statement("test/names", names, writes=False))
    assert dict(row) == SERVER_TCP_OPTIONS


# Attempts


@not_through_pgbouncer
async def test_one_connection_is_opened_at_startup(
    settings: Settings, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await wait_for_session_count(connection, 0)
    async with open_database(settings):
        await wait_for_session_count(connection, 1)
    assert not [record for record in caplog.records if record.name == "todo_service.database.connecting"]


async def test_new_attempts_replace_an_attempt_that_hangs(
    settings: Settings, dropping_gateway: DroppingGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "HEDGE_AFTER_SECONDS", 0.05)
    dropping_gateway.passing.clear()
    async with (
        asyncio.timeout(TEST_TIMEOUT),
        open_database(settings, database_url=dropping_gateway.url, database_timeout=300) as database,
    ):
        call = asyncio.create_task(database.run(READ, "x"))
        await wait_until(lambda: dropping_gateway.dropped_in_total >= 8)
        dropping_gateway.passing.set()
        assert (await call)["user_id"] == "x"
    assert dropping_gateway.most_dropped <= 3, "the first attempt, the newest one, and the cancelled one before it"


async def test_connecting_to_a_slow_server_succeeds(
    settings: Settings, dropping_gateway: DroppingGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "HEDGE_AFTER_SECONDS", 0.05)
    dropping_gateway.delay = 0.2
    async with (
        asyncio.timeout(TEST_TIMEOUT),
        open_database(settings, database_url=dropping_gateway.url, database_timeout=TEST_TIMEOUT) as database,
    ):
        assert (await database.run(READ, "x"))["user_id"] == "x"


async def test_cancelled_attempts_leave_no_session(
    dropping_gateway: DroppingGateway, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "HEDGE_AFTER_SECONDS", 0.001)
    opened = await connect(dropping_gateway.url, server_settings={"application_name": "attempt"})
    await wait_for_session_count(connection, 1, "attempt")
    assert await opened.fetchval("SELECT 1") == 1
    await opened.close()
