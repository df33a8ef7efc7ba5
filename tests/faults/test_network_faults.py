"""Faults of the network between service and database: it is cut, frozen, lossy or slow."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster
from tests.faults.deployment import ALL_VARIANTS, Deployment, repeat, run_deployment, wait_until_ready
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.database, pytest.mark.xdist_group("faults")]

Fault = Callable[[Proxy], AbstractAsyncContextManager[None]]

# Interruptions shorter and longer than DATABASE_TIMEOUT. With its default of 10 s, the interruptions are so long
# that TCP pauses for seconds before it retransmits.
VARIANTS = [
    ("frozen", Proxy.frozen, 2, 3.5),
    ("all packets lost", Proxy.losing, 2, 3.5),
    ("sent data discarded", Proxy.discarding, 2, 1.0),
    ("frozen", Proxy.frozen, 2, 1.0),
    ("frozen", Proxy.frozen, 10, 5.0),
    ("sent data discarded", Proxy.discarding, 2, 3.5),
    ("sent data discarded", Proxy.discarding, 10, 12.0),
    ("all packets lost", Proxy.losing, 2, 1.0),
    ("all packets lost", Proxy.losing, 10, 8.0),
][: None if ALL_VARIANTS else 3]


async def test_the_service_recovers_after_its_connections_are_reset(deployment: Deployment) -> None:
    async def fault(_number: int) -> None:
        for _ in range(5):
            deployment.proxy.cut()
            await asyncio.sleep(0.1)

    await repeat("connections reset, five times in a row", deployment, fault)


@pytest.mark.parametrize(("name", "begin", "limit", "seconds"), VARIANTS)
async def test_the_service_recovers_after_the_network_transmitted_nothing(
    cluster: Cluster, tmp_path: Path, name: str, begin: Fault, limit: int, seconds: float
) -> None:
    async with run_deployment(cluster, tmp_path / "log", DATABASE_TIMEOUT=str(limit)) as deployment:

        async def fault(_number: int) -> None:
            async with begin(deployment.proxy):
                await asyncio.sleep(seconds)

        await repeat(f"{name} for {seconds:g} s, DATABASE_TIMEOUT={limit}", deployment, fault)


@pytest.mark.parametrize("seconds", [0.1, 0.3] if ALL_VARIANTS else [0.1])
async def test_the_service_reconnects_through_a_slow_network(cluster: Cluster, tmp_path: Path, seconds: float) -> None:
    """All connections are reset. Opening a new connection takes several times the delay."""
    async with run_deployment(cluster, tmp_path / "log", DATABASE_TIMEOUT="5") as deployment:

        async def fault(_number: int) -> None:
            async with deployment.proxy.slow(seconds):
                await asyncio.sleep(0.5)
                deployment.proxy.cut()
                await asyncio.sleep(8 * seconds)
                await wait_until_ready(deployment)

        await repeat(f"{seconds * 1000:g} ms slower in each direction, and connections reset", deployment, fault)
