"""The network between service and database is cut, freezes, loses or is slow."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster
from tests.faults.faults import LONG_FORM, Stage, ready, repeat, run_stage
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.database, pytest.mark.xdist_group("faults")]

Fault = Callable[[Proxy], AbstractAsyncContextManager[None]]

# Shorter and longer than DATABASE_TIMEOUT, and with its default for so long that TCP tries again only seconds later.
VARIANTS = [
    ("frozen", Proxy.frozen, 2, 3.5),
    ("all packets lost", Proxy.losing, 2, 3.5),
    ("what is sent swallowed", Proxy.swallowing, 2, 1.0),
    ("frozen", Proxy.frozen, 2, 1.0),
    ("frozen", Proxy.frozen, 10, 5.0),
    ("what is sent swallowed", Proxy.swallowing, 2, 3.5),
    ("what is sent swallowed", Proxy.swallowing, 10, 12.0),
    ("all packets lost", Proxy.losing, 2, 1.0),
    ("all packets lost", Proxy.losing, 10, 8.0),
][: None if LONG_FORM else 3]


async def test_all_connections_are_reset(stage: Stage) -> None:
    async def fault(_number: int) -> None:
        for _ in range(5):
            stage.proxy.cut()
            await asyncio.sleep(0.1)

    await repeat("connections cut (reset), five times in a row", stage, fault)


@pytest.mark.parametrize(("name", "begin", "limit", "seconds"), VARIANTS)
async def test_nothing_comes_through_for_a_while(
    cluster: Cluster, tmp_path: Path, name: str, begin: Fault, limit: int, seconds: float
) -> None:
    async with run_stage(cluster, tmp_path / "log", DATABASE_TIMEOUT=str(limit)) as stage:

        async def fault(_number: int) -> None:
            async with begin(stage.proxy):
                await asyncio.sleep(seconds)

        await repeat(f"{name} for {seconds:g} s, DATABASE_TIMEOUT={limit}", stage, fault)


@pytest.mark.parametrize("seconds", [0.1, 0.3] if LONG_FORM else [0.1])
async def test_the_network_is_slow(cluster: Cluster, tmp_path: Path, seconds: float) -> None:
    """And all connections are lost meanwhile: they are opened again, which takes several times as long."""
    async with run_stage(cluster, tmp_path / "log", DATABASE_TIMEOUT="5") as stage:

        async def fault(_number: int) -> None:
            async with stage.proxy.slow(seconds):
                await asyncio.sleep(0.5)
                stage.proxy.cut()
                await asyncio.sleep(8 * seconds)
                await ready(stage)

        await repeat(f"{seconds * 1000:g} ms slower in each direction, and cut", stage, fault)
