"""Processes of the service are killed, replaced, or told to stop."""

import asyncio
import signal

import psutil
import pytest

from tests.faults.faults import BROKEN, REFUSED, Stage, repeat, until

pytestmark = [pytest.mark.faults, pytest.mark.database, pytest.mark.xdist_group("faults")]


async def test_a_worker_is_killed(stage: Stage) -> None:
    async def fault(number: int) -> None:
        workers = stage.workers()
        workers[number % len(workers)].kill()

    await repeat("a worker killed (-9)", stage, fault, allowed={BROKEN})


async def test_a_rolling_restart_fails_no_request(stage: Stage) -> None:
    async def fault(_number: int) -> None:
        former = stage.workers()
        stage.process.send_signal(signal.SIGHUP)
        await until(lambda: not any(worker.is_running() for worker in former))

    record = await repeat("rolling restart (HUP)", stage, fault)
    assert not [outcome for outcome in record.outcomes if outcome.startswith("5")]


async def test_everything_is_told_to_stop_twice_and_started_again(stage: Stage) -> None:
    """Who connects in between is refused, or reset where the system was faster than the service."""

    async def fault(_number: int) -> None:
        everything = [psutil.Process(stage.process.pid), *stage.workers()]
        for _ in range(2):
            for process in everything:
                process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
        assert await asyncio.to_thread(stage.process.wait, 25) == 0
        await stage.serve()

    record = await repeat("SIGTERM to all processes, twice, and a new start", stage, fault, allowed={BROKEN, REFUSED})
    assert not [outcome for outcome in record.outcomes if outcome.startswith("5")]
