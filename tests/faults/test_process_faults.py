"""Processes of the service are killed, replaced, or told to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.faults.cluster import Cluster
from tests.faults.faults import Stage, repeat, run_stage
from tests.faults.load import BROKEN, NOT_CONNECTED
from tests.support.processes import PATIENCE, until

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.database, pytest.mark.xdist_group("faults")]


async def test_a_worker_is_killed(stage: Stage) -> None:
    async def fault(number: int) -> None:
        workers = stage.workers()
        workers[number % len(workers)].kill()

    await repeat("a worker killed (-9)", stage, fault, allowed={BROKEN})


@pytest.fixture
async def patient_stage(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Stage]:
    """One on which no request fails because the machine is busy."""
    async with run_stage(cluster, tmp_path / "log", DATABASE_TIMEOUT="60") as stage:
        yield stage


async def test_a_rolling_restart_fails_no_request(patient_stage: Stage) -> None:
    stage = patient_stage

    async def fault(_number: int) -> None:
        former = stage.workers()
        stage.process.send_signal(signal.SIGHUP)
        await until(lambda: not any(worker.is_running() for worker in former))

    record = await repeat("rolling restart (HUP)", stage, fault)
    assert not [outcome for outcome in record.outcomes if outcome.startswith("5")]


async def test_everything_is_told_to_stop_twice_and_started_again(patient_stage: Stage) -> None:
    """A client that connects in between is refused, or reset where the system was faster than the service."""
    stage = patient_stage

    async def fault(_number: int) -> None:
        everything = [psutil.Process(stage.process.pid), *stage.workers()]
        for _ in range(2):
            for process in everything:
                process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
        assert await asyncio.to_thread(stage.process.wait, PATIENCE) == 0
        await stage.serve()

    record = await repeat(
        "SIGTERM to all processes, twice, and a new start", stage, fault, allowed={BROKEN, NOT_CONNECTED}
    )
    assert not [outcome for outcome in record.outcomes if outcome.startswith("5")]
