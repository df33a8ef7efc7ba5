"""The database goes away, in part or as a whole, and comes back."""

import asyncio
import re
import signal
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientSession

from tests.faults.cluster import Cluster
from tests.faults.disk import fill, free, small_disk
from tests.faults.faults import Stage, ready, repeat, run_stage
from tests.support.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.database, pytest.mark.xdist_group("faults")]

TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'todo-service' AND datname = $1 ORDER BY random() LIMIT 1
"""


async def test_the_server_is_killed_and_started_again(stage: Stage) -> None:
    async def fault(_number: int) -> None:
        await stage.cluster.kill()
        await asyncio.sleep(1)
        await stage.cluster.start()

    await repeat("PostgreSQL killed (-9) and started again", stage, fault)


async def test_its_processes_are_terminated_one_by_one(stage: Stage) -> None:
    async def fault(_number: int) -> None:
        connection = await asyncpg.connect(stage.database_url)
        for _ in range(8):
            await connection.execute(TERMINATE, stage.database)
            await asyncio.sleep(0.05)
        await connection.close()

    await repeat("backends terminated one by one", stage, fault)


async def test_its_disk_is_full_and_freed(tmp_path: Path) -> None:
    """In every other round the log is to go on in a new file, too: the server panics, and won't start again."""
    options = ["-c", "min_wal_size=32MB", "-c", "max_wal_size=48MB"]
    with small_disk(tmp_path / "disk") as disk:
        cluster = Cluster(disk, *options)
        await cluster.start()

        async def fault(number: int) -> None:
            fill(disk)
            await asyncio.sleep(1)
            if number % 2 == 0:
                await panic(stage)
                refused = stage.record.outcomes["503 unavailable"]
                await until(lambda: stage.record.outcomes["503 unavailable"] > refused)
            free(disk)
            if not await cluster.takes_connections():
                await cluster.kill()  # if it has not ended by itself
                await cluster.start()

        try:
            async with run_stage(cluster, tmp_path / "log") as stage:
                record = await repeat("disk full, then freed", stage, fault)
        finally:
            await cluster.close()
    assert record.outcomes["503 unavailable"] > 0


async def panic(stage: Stage) -> None:
    """Has the server take the next files of its log, until there is none, and it ends itself."""
    while await stage.cluster.takes_connections():
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # it may go down at any moment
            connection = await asyncpg.connect(stage.cluster.url)
            try:
                await connection.execute("SELECT pg_logical_emit_message(false, 'next', 'file'), pg_switch_wal()")
            finally:
                connection.terminate()


async def test_a_service_that_starts_first_waits_and_says_so(stage: Stage) -> None:
    """Or one whose workers are replaced while there is no database."""
    waiting = re.compile(r"the database is unreachable \((.*)\); next attempt in ([0-9.]+) s")

    async def fault(_number: int) -> None:
        await stage.cluster.stop()
        stage.process.send_signal(signal.SIGHUP)
        former = stage.workers()
        begin = stage.log.stat().st_size

        def pauses() -> list[float]:
            return [float(pause) for _, pause in waiting.findall(stage.log.read_text()[begin:])]

        async with ClientSession(stage.url) as session:
            await until(lambda: not any(worker.is_running() for worker in former))
            await until(lambda: len(set(pauses())) > 1)
            async with session.get("/health") as response:
                assert response.status == 200
            async with session.get("/health/ready") as response:
                assert response.status == 503
            assert max(pauses()) <= 1
            await stage.cluster.start()
            await ready(stage)
        await until(lambda: stage.log.read_text()[begin:].count("the database is reachable again") >= 2)

    await repeat("workers replaced without a database, then started", stage, fault)
