"""Faults of the database: a killed server, terminated backends, a full disk, and a database that starts late."""

import asyncio
import re
import signal
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientSession

from tests.faults.cluster import Cluster
from tests.faults.deployment import Deployment, repeat, run_deployment, wait_until_ready
from tests.faults.disk import fill, free, small_disk
from tests.support.processes import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.database, pytest.mark.xdist_group("faults")]

TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'todo-service' AND datname = $1 ORDER BY random() LIMIT 1
"""


async def test_the_service_recovers_after_the_database_server_is_killed(deployment: Deployment) -> None:
    async def fault(_number: int) -> None:
        await deployment.cluster.kill()
        await asyncio.sleep(1)
        await deployment.cluster.start()

    await repeat("PostgreSQL killed (-9) and started again", deployment, fault)


async def test_the_service_recovers_after_backends_are_terminated(deployment: Deployment) -> None:
    async def fault(_number: int) -> None:
        connection = await asyncpg.connect(deployment.database_url)
        for _ in range(8):
            await connection.execute(TERMINATE, deployment.database)
            await asyncio.sleep(0.05)
        await connection.close()

    await repeat("backends terminated one by one", deployment, fault)


async def test_the_service_recovers_after_the_disk_was_full(tmp_path: Path) -> None:
    """In every second round the server also needs a new WAL file. It panics, and can't start until there is space."""
    options = ["-c", "min_wal_size=32MB", "-c", "max_wal_size=48MB"]
    with small_disk(tmp_path / "disk") as disk:
        cluster = Cluster(disk, *options)
        await cluster.start()

        async def fault(number: int) -> None:
            fill(disk)
            await asyncio.sleep(1)
            if number % 2 == 0:
                await panic(deployment)
                refused = deployment.record.outcomes["503 unavailable"]
                await wait_until(lambda: deployment.record.outcomes["503 unavailable"] > refused)
            free(disk)
            if not await cluster.accepts_connections():
                await cluster.kill()  # the server may still be running
                await cluster.start()

        try:
            async with run_deployment(cluster, tmp_path / "log") as deployment:
                record = await repeat("disk full, then freed", deployment, fault)
        finally:
            await cluster.close()
    assert record.outcomes["503 unavailable"] > 0


async def panic(deployment: Deployment) -> None:
    """Makes the server switch to new WAL files until there is no space for one. The server then ends with a panic."""
    while await deployment.cluster.accepts_connections():
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # the server may stop at any moment
            connection = await asyncpg.connect(deployment.cluster.url)
            try:
                await connection.execute("SELECT pg_logical_emit_message(false, 'next', 'file'), pg_switch_wal()")
            finally:
                connection.terminate()


async def test_workers_started_without_a_database_log_their_attempts_until_they_connect(deployment: Deployment) -> None:
    """The workers are replaced while the database is stopped."""
    waiting = re.compile(r"the database is unreachable \((.*)\); next attempt in ([0-9.]+) s")

    async def fault(_number: int) -> None:
        await deployment.cluster.stop()
        deployment.process.send_signal(signal.SIGHUP)
        former = deployment.workers()
        begin = deployment.log.stat().st_size

        def pauses() -> list[float]:
            return [float(pause) for _, pause in waiting.findall(deployment.log.read_text()[begin:])]

        async with ClientSession(deployment.url) as session:
            await wait_until(lambda: not any(worker.is_running() for worker in former))
            await wait_until(lambda: len(set(pauses())) > 1)
            async with session.get("/health") as response:
                assert response.status == 200
            async with session.get("/health/ready") as response:
                assert response.status == 503
            assert max(pauses()) <= 1
            await deployment.cluster.start()
            await wait_until_ready(deployment)
        await wait_until(lambda: deployment.log.read_text()[begin:].count("the database is reachable again") >= 2)

    await repeat("workers replaced while PostgreSQL is stopped, then PostgreSQL started", deployment, fault)
