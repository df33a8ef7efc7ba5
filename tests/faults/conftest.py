"""The PostgreSQL server of these tests, the service on it, and the table of results."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster
from tests.faults.deployment import Deployment, report, run_deployment

HEADER = (
    "| Fault | Requests | Acknowledged writes | 503 `unavailable` | 503 `outcome-unknown` | Other outcomes "
    "| Slowest response | Full rate after: median / longest |\n"
    "|---|--:|--:|--:|--:|---|--:|--:|"
)
"""The header of the table in docs/faults.md. It has no column for lost or unrequested writes: they fail the test."""


@pytest.fixture(scope="session")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("faults"))
    yield cluster
    asyncio.run(cluster.close())


@pytest.fixture
async def cluster(long_lived: Cluster) -> Cluster:
    """The server for all faults except the full disk. Starts it if the last test stopped it."""
    if not long_lived.is_running():
        await long_lived.start()
    return long_lived


@pytest.fixture
async def deployment(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with run_deployment(cluster, tmp_path / "log") as deployment:
        yield deployment


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if report:
        terminalreporter.write_line("\n".join([HEADER, *report]))
