"""Causes a fault repeatedly in a service under load, and checks the requirements of docs/faults.md."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import psutil
from aiohttp import ClientSession

from tests.faults.cluster import Cluster
from tests.faults.compare import Findings, compare
from tests.faults.load import BROKEN_AFTER_IDLE, CLIENTS, Load
from tests.faults.proxy import Proxy
from tests.faults.record import Record
from tests.support.processes import TEST_TIMEOUT, free_port, served, wait_until
from todo_service.database.migrations import migrate

REPETITIONS = int(os.environ.get("TEST_FAULT_REPETITIONS", "1"))
ALL_VARIANTS = REPETITIONS > 1
"""Whether all variants are tested (`make faults`)."""

TIMEOUT = 2
"""DATABASE_TIMEOUT of the service (seconds)."""

INTERVAL = 0.12 if ALL_VARIANTS else 0.25
"""Seconds between the requests of a client. All clients send 530 or 256 a second, which two cores serve easily."""

STEADY_SECONDS = 1.0
FULL_RATE = 0.75
"""The rate is full again if it has this share of the rate before the fault. The rate varies on a shared machine."""
RECOVERY_SECONDS = 2.0
"""Allowed time until the rate is full again. Only `make faults` checks it, because it runs no other tests."""

LATE = 10
"""Allowed delay of a response: 1 s plus LATE times the slowest /health request, which measures the load of the
machine."""

report: list[str] = []
"""A row for each fault of this run."""


@dataclass
class Deployment:
    """A service of two workers, its database, and the network between them."""

    cluster: Cluster
    proxy: Proxy
    log: Path
    database: str
    """The database's name."""
    settings: dict[str, str]
    resources: ExitStack
    record: Record = field(default_factory=Record)
    """The responses that the clients got since the load began."""
    process: Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        """The address of the service, which a restart doesn't change."""
        return f"http://127.0.0.1:{self.settings['PORT']}"

    @property
    def timeout(self) -> float:
        """DATABASE_TIMEOUT (seconds)."""
        return float(self.settings["DATABASE_TIMEOUT"])

    @property
    def database_url(self) -> str:
        """The address of the database, without the proxy."""
        return urlunsplit(urlsplit(self.cluster.url)._replace(path=f"/{self.database}"))

    async def serve(self) -> None:
        """Starts the service. Call it only if the service isn't running."""
        self.process, _ = await asyncio.to_thread(self.resources.enter_context, served(self.log, **self.settings))

    def workers(self) -> list[psutil.Process]:
        """The worker processes of the service."""
        return psutil.Process(self.process.pid).children()


@asynccontextmanager
async def run_deployment(cluster: Cluster, log: Path, **settings: str) -> AsyncIterator[Deployment]:
    """Runs a service on a new database of this cluster."""
    name = f"faults_{uuid4().hex}"
    connection = await asyncpg.connect(cluster.url)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    proxy = Proxy(lambda: cluster.socket)
    await proxy.start()
    variables = {
        "DATABASE_URL": f"postgres://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable",
        "DATABASE_TIMEOUT": str(TIMEOUT),
        "WEB_CONCURRENCY": "2",
        "PORT": str(free_port()),
        **settings,
    }
    try:
        with ExitStack() as resources:
            deployment = Deployment(cluster, proxy, log, name, variables, resources)
            await migrate(deployment.database_url, lambda _line: None)
            await deployment.serve()
            yield deployment
    finally:
        await proxy.close()


async def repeat(
    name: str,
    deployment: Deployment,
    fault: Callable[[int], Awaitable[None]],
    *,
    allowed: AbstractSet[str] = frozenset(),
) -> Record:
    """Causes a fault REPETITIONS times under load. `fault` gets the round's number, and returns when the fault ends.

    Checks that no acknowledged write is lost, no write is applied twice, and no refused write is applied. Each response
    must arrive within the timeout plus one second plus the allowed delay of a busy machine (LATE). After each fault all
    clients must be served again; with ALL_VARIANTS the rate must be full again within RECOVERY_SECONDS. `allowed` has
    the accepted outcomes without an HTTP response.
    """
    load = Load(deployment.url, INTERVAL)
    recoveries = []
    async with load.running() as record:
        deployment.record = record
        for number in range(REPETITIONS):
            await asyncio.sleep(STEADY_SECONDS + 0.2)
            began = time.monotonic()
            before = record.rate(began - STEADY_SECONDS, began)
            await fault(number)
            recoveries.append(await _seconds_to_full_rate(record, before))
            await _all_served(record)
    findings = await compare(record, deployment.database_url)
    report.append(_line(name, record, recoveries))
    details = "\n".join([report[-1], *record.violations[:10], deployment.log.read_text()[-8000:]])
    assert findings == Findings([], [], []), f"{findings}\n{details}"
    assert not record.violations, details
    unanswered = {outcome for outcome in record.outcomes if not outcome[0].isdigit()}
    assert not unanswered - allowed - {BROKEN_AFTER_IDLE}, details
    assert record.slowest <= deployment.timeout + 1 + LATE * record.slowest_health_request, details
    assert not ALL_VARIANTS or max(recoveries) <= RECOVERY_SECONDS, details
    assert "Traceback" not in deployment.log.read_text(), details
    return record


async def _all_served(record: Record) -> None:
    """Waits until each client has been served once more."""
    begin = time.monotonic()
    await wait_until(lambda: len(record.last_served) == CLIENTS and min(record.last_served.values()) > begin)


async def wait_until_ready(deployment: Deployment) -> None:
    """Waits until both workers are ready: eight responses in a row are 200."""
    ready = 0
    async with ClientSession(deployment.url) as session, asyncio.timeout(TEST_TIMEOUT):
        while ready < 8:
            async with session.get("/health/ready", headers={"Connection": "close"}) as response:
                ready = ready + 1 if response.status == 200 else 0


async def _seconds_to_full_rate(record: Record, before: float) -> float:
    """Returns the seconds until the rate is full again: at least FULL_RATE x `before` for one second.

    Returns infinity if the rate stays lower for 15 s.
    """
    ended = begin = time.monotonic()
    while begin < ended + 15:
        await asyncio.sleep(max(0.0, begin + 1 - time.monotonic()))
        if record.rate(begin, begin + 1) >= FULL_RATE * before:
            return begin - ended
        begin += 0.1
    return float("inf")


def _line(name: str, record: Record, recoveries: list[float]) -> str:
    """A row of the table in docs/faults.md. It leaves out 2xx. "Other outcomes" has the outcomes without a column."""
    outcomes = Counter({outcome: count for outcome, count in record.outcomes.items() if outcome[0] != "2"})
    cells = [
        name,
        f"{record.outcomes.total():,}",
        f"{record.acknowledged.total():,}",
        f"{outcomes.pop('503 unavailable', 0):,}",
        f"{outcomes.pop('503 outcome-unknown', 0):,}",
        ", ".join(f"{outcome}: {count:,}" for outcome, count in outcomes.most_common()),
        f"{record.slowest:.2f}",
        f"{sorted(recoveries)[len(recoveries) // 2]:.1f} / {max(recoveries):.1f}",
    ]
    return f"| {' | '.join(cells)} |"
