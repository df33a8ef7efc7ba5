"""Does one fault again and again to a service under load, and holds what came of it to what is required."""

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

from tests.faults.check import Findings, compare
from tests.faults.cluster import Cluster
from tests.faults.load import BROKEN_AFTER_SILENCE, CLIENTS, Load
from tests.faults.proxy import Proxy
from tests.faults.record import Record
from tests.support.processes import PATIENCE, free_port, served, until
from todo_service.database.migrations import migrate

REPETITIONS = int(os.environ.get("TEST_FAULT_REPETITIONS", "1"))
LONG_FORM = REPETITIONS > 1
"""Whether all variants are to be tried."""

TIMEOUT = 2
"""DATABASE_TIMEOUT of the service (seconds)."""

INTERVAL = 0.12 if LONG_FORM else 0.25
"""Seconds between the requests of a client: 530 or 256 a second in all, which two cores serve with ease."""

STEADY_SECONDS = 1.0
FULL_RATE = 0.75
"""Of the rate before, by the second: a machine that does other things, too, is never quite steady."""
RECOVERY_SECONDS = 2.0
"""Until that rate is back. Required of the long form only, which is to have the machine for itself."""

LATE = 10
"""So many times as long as the slowest of the requests that need no database an answer may be late, besides a second:
that is how busy the machine was."""

report: list[str] = []
"""A line for each fault that was done, for the end of the run."""


@dataclass
class Stage:
    """A service of two workers, its database, and the network in between."""

    cluster: Cluster
    proxy: Proxy
    log: Path
    database: str
    """The database's name."""
    settings: dict[str, str]
    resources: ExitStack
    record: Record = field(default_factory=Record)
    """What the clients have seen since the faults began."""
    process: Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        """Where the service is, also after another start."""
        return f"http://127.0.0.1:{self.settings['PORT']}"

    @property
    def timeout(self) -> float:
        """DATABASE_TIMEOUT (seconds)."""
        return float(self.settings["DATABASE_TIMEOUT"])

    @property
    def database_url(self) -> str:
        """Where the database is without the proxy."""
        return urlunsplit(urlsplit(self.cluster.url)._replace(path=f"/{self.database}"))

    async def serve(self) -> None:
        """Starts the service, which must not run."""
        self.process, _ = await asyncio.to_thread(self.resources.enter_context, served(self.log, **self.settings))

    def workers(self) -> list[psutil.Process]:
        """The processes that serve."""
        return psutil.Process(self.process.pid).children()


@asynccontextmanager
async def run_stage(cluster: Cluster, log: Path, **settings: str) -> AsyncIterator[Stage]:
    """A service on a new database of this cluster."""
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
            stage = Stage(cluster, proxy, log, name, variables, resources)
            await migrate(stage.database_url, lambda _line: None)
            await stage.serve()
            yield stage
    finally:
        await proxy.close()


async def repeat(
    name: str,
    stage: Stage,
    fault: Callable[[int], Awaitable[None]],
    *,
    allowed: AbstractSet[str] = frozenset(),
) -> Record:
    """Does a fault so many times under load; `fault` gets the number of the round, and returns when it is over.

    Whatever happens, no acknowledged write is lost, none is applied twice, none that was refused is applied, and there
    is no answer after the timeout and one second more, or what the machine adds to that. Afterwards each client is
    served again; in the long form the rate is what it was after two seconds. `allowed` are outcomes besides those of a
    service that is there.
    """
    load = Load(stage.url, INTERVAL)
    recoveries = []
    async with load.running() as record:
        stage.record = record
        for number in range(REPETITIONS):
            await asyncio.sleep(STEADY_SECONDS + 0.2)
            began = time.monotonic()
            before = record.rate(began - STEADY_SECONDS, began)
            await fault(number)
            recoveries.append(await _seconds_to_full_rate(record, before))
            await _all_served(record)
    findings = await compare(record, stage.database_url)
    report.append(_line(name, record, findings, recoveries))
    said = "\n".join([report[-1], *record.violations[:10], stage.log.read_text()[-8000:]])
    assert findings == Findings([], [], []), f"{findings}\n{said}"
    assert not record.violations, said
    unanswered = {outcome for outcome in record.outcomes if not outcome[0].isdigit()}
    assert not unanswered - allowed - {BROKEN_AFTER_SILENCE}, said
    assert record.slowest <= stage.timeout + 1 + LATE * record.slowest_of_control, said
    assert not LONG_FORM or max(recoveries) <= RECOVERY_SECONDS, said
    assert "Traceback" not in stage.log.read_text(), said
    return record


async def _all_served(record: Record) -> None:
    """Waits until each client has been served after now."""
    begin = time.monotonic()
    await until(lambda: len(record.last_served) == CLIENTS and min(record.last_served.values()) > begin)


async def ready(stage: Stage) -> None:
    """Waits until both workers are, as far as so many answers in a row tell."""
    ready = 0
    async with ClientSession(stage.url) as session, asyncio.timeout(PATIENCE):
        while ready < 8:
            async with session.get("/health/ready", headers={"Connection": "close"}) as response:
                ready = ready + 1 if response.status == 200 else 0


async def _seconds_to_full_rate(record: Record, before: float) -> float:
    """How long after now the first full second at nearly the rate of before begins; infinite if it never does."""
    ended = begin = time.monotonic()
    while begin < ended + 15:
        await asyncio.sleep(max(0.0, begin + 1 - time.monotonic()))
        if record.rate(begin, begin + 1) >= FULL_RATE * before:
            return begin - ended
        begin += 0.1
    return float("inf")


def _line(name: str, record: Record, findings: Findings, recoveries: list[float]) -> str:
    outcomes = Counter({outcome: count for outcome, count in record.outcomes.items() if outcome[0] != "2"})
    outcomes["2xx"] = sum(count for outcome, count in record.outcomes.items() if outcome[0] == "2")
    cells = [
        name,
        REPETITIONS,
        sum(record.outcomes.values()),
        sum(record.acknowledged.values()),
        len(findings.lost),
        len(findings.twice) + len(findings.unasked),
        f"{record.slowest:.2f}",
        ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()),
        f"{sorted(recoveries)[len(recoveries) // 2]:.1f} / {max(recoveries):.1f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"
