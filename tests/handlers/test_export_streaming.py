"""An export is streamed: memory stays low, slow clients hold no connection, and a stopping service completes it."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import uvloop
from aiohttp import ClientSession

from tests.support.exports import (
    LONGEST,
    MEGABYTE,
    MakeUser,
    User,
    between_pages,
    read_fast,
    run_in_process,
    slow_client,
    start_export,
    start_export_without_chunks,
    tasks_in,
)
from tests.support.processes import answers, served, wait_until, wait_until_blocking
from todo_service.handlers import me
from todo_service.http import in_flight
from todo_service.http.in_flight import IN_FLIGHT
from todo_service.server import graceful
from todo_service.settings import Settings

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("exports")]  # one at a time: each needs much of the machine

SMALL = "Two bottles"

EXPECTED = "SELECT body || E'\\n' FROM tasks WHERE user_id = $1 ORDER BY created_at, id"


async def digest_of(chunks: AsyncIterator[bytes]) -> str:
    digest = sha256()
    async for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


async def expected_digest(connection: asyncpg.Connection, user: User) -> str:
    async def lines() -> AsyncIterator[bytes]:
        async for (line,) in connection.cursor(EXPECTED, user.id, prefetch=1000):
            yield line.encode()

    async with connection.transaction():
        return await digest_of(lines())


def peak_memory(process: psutil.Process) -> int:
    """The largest resident memory that the process has had (bytes), from Linux."""
    match = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "description"), [(100_000, SMALL), (4_000, LONGEST)], ids=["many tasks", "long descriptions"]
)
async def test_large_exports_need_less_than_100_mb_of_memory(
    user_with: MakeUser,
    connection: asyncpg.Connection,
    service_database_url: str,
    tmp_path: Path,
    count: int,
    description: str,
) -> None:
    user = await user_with(count, description)
    with served(tmp_path / "log", DATABASE_URL=service_database_url) as (process, url):
        [worker] = psutil.Process(process.pid).children()
        async with ClientSession(url, headers=user.headers) as session:
            exports = [await start_export(session) for _ in range(4)]
            digests = await asyncio.gather(*(digest_of(each.content.iter_any()) for each in exports))
        peak = peak_memory(worker)

    assert set(digests) == {await expected_digest(connection, user)}
    assert peak < 100 * MEGABYTE


@pytest.mark.slow
async def test_clients_that_read_slowly_hold_no_database_connection(
    user_with: MakeUser, service_database_url: str, tmp_path: Path
) -> None:
    user = await user_with(4_000, LONGEST)
    settings = {"DATABASE_URL": service_database_url, "DATABASE_POOL_SIZE": "1", "DATABASE_TIMEOUT": "60"}
    with served(tmp_path / "log", **settings) as (_, url):
        async with slow_client(url, user) as slow, ClientSession(url, headers=user.headers) as quick:
            *exports, abandoned = [await start_export(slow) for _ in range(5)]
            abandoned.close()
            response = await quick.post("/api/tasks", json={"title": "late"})
            assert response.status == 201
            late = await response.json()
            assert await (await quick.get("/api/tasks", params={"limit": "1"})).json() == [late]

            bodies = [await export.read() for export in exports]

    for body in bodies:
        tasks = tasks_in(body)
        assert len(tasks) == 4_001
        assert tasks[-1] == late, "an export that reads all tasks at its beginning has no later task"


# Stopping while a response is sent


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP])
async def test_a_stopping_service_completes_an_export(
    user_with: MakeUser, connection: asyncpg.Connection, service_database_url: str, tmp_path: Path, stop: signal.Signals
) -> None:
    user = await user_with(4_000, LONGEST)
    with served(tmp_path / "log", DATABASE_URL=service_database_url) as (process, url):
        workers = psutil.Process(process.pid).children()
        async with slow_client(url, user) as session:
            export = await start_export(session)
            process.send_signal(stop)
            if stop == signal.SIGHUP:
                wait_until_blocking(lambda: len(psutil.Process(process.pid).children()) > len(workers))
            else:
                wait_until_blocking(lambda: not answers(f"{url}/health"))
            read_fast(export)
            digest = await digest_of(export.content.iter_any())
        wait_until_blocking(lambda: not any(worker.is_running() for worker in workers))

    assert digest == await expected_digest(connection, user)


@pytest.mark.slow
async def test_a_stopping_worker_sends_its_write_buffer_before_it_exits(
    user_with: MakeUser, service_database_url: str, tmp_path: Path
) -> None:
    user = await user_with(1_000, LONGEST)
    with served(tmp_path / "log", DATABASE_URL=service_database_url) as (process, url):
        workers = psutil.Process(process.pid).children()
        async with slow_client(url, user) as session:
            response = await session.get("/api/tasks")
            process.send_signal(signal.SIGTERM)
            with suppress(AssertionError):  # longer than a worker needs to exit without sending the rest
                wait_until_blocking(lambda: not any(worker.is_running() for worker in workers), seconds=6)
            read_fast(response)
            tasks = await response.json()
        wait_until_blocking(lambda: not any(worker.is_running() for worker in workers))

    assert len(tasks) == 1_000


async def test_stopping_waits_for_an_export_in_progress(
    user_with: MakeUser, connection: asyncpg.Connection, settings: Settings
) -> None:
    user = await user_with(4_000, LONGEST)
    async with run_in_process(settings) as (runner, url), slow_client(url, user) as session:
        export = await start_export(session)
        stopping = asyncio.create_task(runner.cleanup())
        await wait_until(lambda: runner.app[IN_FLIGHT].stopping)

        digest = await digest_of(export.content.iter_any())

        await stopping
    assert digest == await expected_digest(connection, user)


async def test_stopping_waits_for_an_export_that_reads_its_first_page(
    user_with: MakeUser, connection: asyncpg.Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await user_with(4_000, LONGEST)
    read_page = me._page
    async with run_in_process(settings) as (runner, url), slow_client(url, user) as session:
        counter = runner.app[IN_FLIGHT]

        async def read_late(*arguments: Any) -> me.Page:
            await wait_until(lambda: counter.stopping)
            return await read_page(*arguments)

        monkeypatch.setattr(me, "_page", read_late)
        beginning = asyncio.create_task(start_export(session))
        await wait_until(lambda: counter.requests > 0)
        stopping = asyncio.create_task(runner.cleanup())

        digest = await digest_of((await beginning).content.iter_any())

        await stopping
    assert digest == await expected_digest(connection, user)


async def test_stopping_waits_until_every_write_buffer_is_empty(user_with: MakeUser, settings: Settings) -> None:
    user = await user_with(1_000, LONGEST)
    async with run_in_process(settings) as (runner, url), slow_client(url, user) as session:
        response = await session.get("/api/tasks")
        assert runner.server
        [connection] = runner.server.connections
        transport = connection.transport
        assert transport
        unsent = [transport.get_write_buffer_size()]
        stopping = asyncio.create_task(runner.cleanup())
        stopping.add_done_callback(lambda _: unsent.append(transport.get_write_buffer_size()))
        await asyncio.wait([stopping], timeout=0.5)

        tasks = await response.json()

        await stopping
    assert unsent[0] > 0 == unsent[1], "bytes are unsent when stopping ends"
    assert len(tasks) == 1_000


async def test_an_export_longer_than_the_drain_time_is_reset(
    user_with: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP/1.0 has no chunks: a client takes an orderly end of the connection for the end of the body."""
    monkeypatch.setattr(graceful, "DRAIN_SECONDS", 0.1)
    user = await user_with(4_000, LONGEST)
    async with run_in_process(settings) as (runner, _):
        reader, writer = await start_export_without_chunks(runner, user)

        await runner.cleanup()

        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_an_export_between_two_pages_at_the_end_of_the_drain_time_is_reset(
    user_with: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second page is read after the end of the drain time, and is too long to be sent."""
    monkeypatch.setattr(graceful, "DRAIN_SECONDS", 0.1)
    user = await user_with(4_000, LONGEST)
    second_page_begins, stopped = asyncio.Event(), asyncio.Event()

    async def wait_for_stop() -> None:
        second_page_begins.set()
        await stopped.wait()

    between_pages(monkeypatch, me.PAGE_SIZE, wait_for_stop)
    async with run_in_process(settings) as (runner, _):
        reader, writer = await start_export_without_chunks(runner, user)
        await second_page_begins.wait()

        await runner.cleanup()
        stopped.set()

        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_stopping_does_not_wait_for_a_client_that_disconnected(user_with: MakeUser, settings: Settings) -> None:
    user = await user_with(4_000, LONGEST)
    async with run_in_process(settings) as (runner, url), slow_client(url, user) as session:
        export = await start_export(session)

        export.close()

        await wait_until(lambda: runner.app[IN_FLIGHT].requests == 0)


@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("reads_socket_first", [False, True])
def test_resetting_a_closed_connection_raises_no_error(
    new_event_loop: Callable[[], asyncio.AbstractEventLoop], reads_socket_first: bool
) -> None:
    async def close_and_reset() -> None:
        lost = asyncio.Event()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                connected.set_result(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                lost.set()

        loop = asyncio.get_running_loop()
        connected: asyncio.Future[Any] = loop.create_future()
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await connected
        if reads_socket_first:
            transport.get_extra_info("socket")
        writer.close()
        await lost.wait()
        server.close()
        in_flight.reset(transport)
        in_flight.reset(transport)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(close_and_reset())
