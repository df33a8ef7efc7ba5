"""Faults of the service's processes: they are killed, replaced, or stopped."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.faults.cluster import Cluster
from tests.faults.deployment import Deployment, repeat, run_deployment
from tests.faults.load import BROKEN, NOT_CONNECTED
from tests.support.processes import TEST_TIMEOUT, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.database, pytest.mark.xdist_group("faults")]


async def test_the_service_recovers_after_a_worker_is_killed(deployment: Deployment) -> None:
    async def fault(number: int) -> None:
        workers = deployment.workers()
        workers[number % len(workers)].kill()

    await repeat("a worker killed (-9)", deployment, fault, allowed={BROKEN})


@pytest.fixture
async def patient_deployment(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Deployment]:
    """A deployment with a long timeout, so that no request fails because the machine is busy."""
    async with run_deployment(cluster, tmp_path / "log", DATABASE_TIMEOUT="60") as deployment:
        yield deployment


async def test_a_rolling_restart_fails_no_request(patient_deployment: Deployment) -> None:
    deployment = patient_deployment

    async def fault(_number: int) -> None:
        former = deployment.workers()
        deployment.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: not any(worker.is_running() for worker in former))

    record = await repeat("rolling restart (HUP)", deployment, fault)
    assert not [outcome for outcome in record.outcomes if outcome.startswith("5")]


async def test_a_restart_by_sigterm_sent_twice_causes_no_5xx(patient_deployment: Deployment) -> None:
    """Until the next start, the kernel refuses new connections, and resets those that no worker has accepted."""
    deployment = patient_deployment

    async def fault(_number: int) -> None:
        everything = [psutil.Process(deployment.process.pid), *deployment.workers()]
        for _ in range(2):
            for process in everything:
                process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
        assert await asyncio.to_thread(deployment.process.wait, TEST_TIMEOUT) == 0
        await deployment.serve()

    record = await repeat(
        "SIGTERM to all processes, twice, then a new start", deployment, fault, allowed={BROKEN, NOT_CONNECTED}
    )
    assert not [outcome for outcome in record.outcomes if outcome.startswith("5")]
