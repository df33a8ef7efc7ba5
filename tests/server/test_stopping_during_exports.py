"""A stopping service completes exports and empties its write buffers, or resets the connection after DRAIN_SECONDS."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from tests.support.exports import (
    LONGEST,
    MakeUser,
    between_pages,
    digest_of,
    expected_digest,
    read_fast,
    run_in_process,
    slow_client,
    start_export,
    start_export_without_chunks,
)
from tests.support.processes import answers, served, wait_until, wait_until_blocking
from todo_service.handlers import me
from todo_service.http.in_flight import IN_FLIGHT
from todo_service.server import graceful
from todo_service.settings import Settings

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("exports")]  # not in parallel: each test loads the machine


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
            with suppress(AssertionError):  # a worker that doesn't send the rest exits in less than 6 s
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
    """HTTP/1.0 has no chunks: for a client, an orderly close of the connection is the end of the body."""
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
    """The service reads the second page after the drain time. This page is too long to be sent."""
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
