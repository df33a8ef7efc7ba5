"""Graceful shutdown: while the service stops, requests on open connections are still answered."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.support.clocks import FakeAsyncio
from tests.support.exports import EXPORT, LONGEST, MakeUser, run_in_process
from tests.support.processes import TEST_TIMEOUT, wait_until
from todo_service.http.in_flight import IN_FLIGHT
from todo_service.server import graceful
from todo_service.server.graceful import Runner
from todo_service.settings import Settings

pytestmark = pytest.mark.database


async def stop(runner: Runner) -> asyncio.Task[None]:
    """Starts the graceful shutdown."""
    stopping = asyncio.create_task(runner.cleanup())
    await wait_until(lambda: runner.app[IN_FLIGHT].stopping)
    return stopping


@pytest.fixture(autouse=True)
def long_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes both limits so long that a test fails if it waits for them."""
    monkeypatch.setattr(graceful, "LINGER_SECONDS", 10 * TEST_TIMEOUT)
    monkeypatch.setattr(graceful, "DRAIN_SECONDS", 20 * TEST_TIMEOUT)


async def test_during_a_shutdown_a_request_on_an_idle_connection_is_answered(settings: Settings) -> None:
    async with (
        run_in_process(settings) as (runner, url),
        ClientSession(url, connector=TCPConnector(limit=1)) as session,
    ):
        async with session.get("/health") as response:
            assert "Connection" not in response.headers
        stopping = await stop(runner)
        async with session.get("/health") as response:
            assert response.status == 200
            assert response.headers["Connection"] == "close"
        async with asyncio.timeout(TEST_TIMEOUT):
            await stopping


async def test_during_a_shutdown_the_first_request_of_a_connection_is_answered(settings: Settings) -> None:
    async with run_in_process(settings) as (runner, _):
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        await wait_until(lambda: bool(runner.server and runner.server.connections))
        stopping = await stop(runner)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        async with asyncio.timeout(TEST_TIMEOUT):
            await stopping


async def test_during_a_shutdown_an_idle_connection_is_closed_after_a_moment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graceful, "LINGER_SECONDS", 0.2)
    async with run_in_process(settings) as (runner, _):
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        await wait_until(lambda: bool(runner.server and runner.server.connections))
        async with asyncio.timeout(TEST_TIMEOUT):
            await (await stop(runner))
            assert await reader.read() == b""
        writer.close()


async def test_a_shutdown_without_connections_does_not_wait(settings: Settings) -> None:
    async with run_in_process(settings) as (runner, _), asyncio.timeout(TEST_TIMEOUT):
        await runner.cleanup()


async def test_during_a_shutdown_a_request_after_the_end_of_an_export_is_answered(
    user_with: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service sends the export's headers before the shutdown, so without `Connection: close`."""
    clock = FakeAsyncio()
    monkeypatch.setattr(graceful, "asyncio", clock)
    user = await user_with(4_000, LONGEST)
    connector: Any = TCPConnector(limit=1)
    async with (
        run_in_process(settings) as (runner, url),
        ClientSession(url, headers=user.headers, connector=connector) as session,
    ):
        async with session.get(EXPORT) as export:
            stopping = await stop(runner)
            clock.ahead = graceful.LINGER_SECONDS + 1  # LINGER_SECONDS end before the export does
            begin = clock.time_calls
            await wait_until(lambda: clock.time_calls > begin + 2)
            assert len((await export.read()).splitlines()) == 4_000
        async with session.get("/health") as response:
            assert response.headers["Connection"] == "close"
        async with asyncio.timeout(TEST_TIMEOUT):
            await stopping
