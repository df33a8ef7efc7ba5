"""The results: runs of services, their medians, and how this service compares with the others."""

import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from statistics import median

from benchmarks.load import WORKLOADS, Load
from benchmarks.peers import FASTAPI, FASTIFY, GO
from benchmarks.pgbench import PGBENCH
from benchmarks.services import OURS, Service

Case = tuple[str, int]
"""A workload and a number of connections."""

GOALS = {
    GO: dict.fromkeys(WORKLOADS, 1.25),
    FASTIFY: dict.fromkeys(WORKLOADS, 2.0),
    FASTAPI: {"list": 12.0, "get": 15.0, "create": 15.0, "mixed": 12.0},
    PGBENCH: {"list": 0.35, "get": 0.45, "create": 1.0},
}
"""The goals for the ratio of this service's requests per second to those of others, with one process each."""


@dataclass(frozen=True)
class Run:
    """One run of a case, of one service or of pgbench."""

    rate: float
    """Requests per second."""
    p99: float
    """Milliseconds in which 99 % of the requests were answered; NaN for pgbench."""
    service: float
    """Microseconds of the service's processor time for each request; 0 for pgbench, which has no service."""
    postgres: float
    """Microseconds of PostgreSQL's processor time for each request."""


def to_run(load: Load, service: float, postgres: float) -> Run:
    """Divides the processor seconds of the service and of PostgreSQL by the requests that were answered."""
    per_request = 1e6 / load.requests
    return Run(load.requests / load.seconds, load.p99, service * per_request, postgres * per_request)


@dataclass
class Results:
    """All runs with one number of processes."""

    processes: int
    cases: Sequence[Case]
    services: Sequence[Service]
    postgres: str
    """The version of PostgreSQL."""
    runs: dict[tuple[str, Case], list[Run]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    """The largest resident set of one process of each service, in MB."""

    def add(self, name: str, case: Case, run: Run) -> None:
        self.runs.setdefault((name, case), []).append(run)

    @property
    def title(self) -> str:
        each = "one process each" if self.processes == 1 else f"{self.processes} processes each"
        return f"The whole machine: {each}" if self.processes == os.cpu_count() else each.capitalize()

    def median(self, name: str, case: Case) -> Run:
        """The median of each measure over the rounds."""
        return Run(*map(median, zip(*map(astuple, self.runs[name, case]), strict=True)))

    def ratio(self, name: str, case: Case) -> float:
        """This service's requests per second, divided by those of another."""
        return self.median(OURS, case).rate / self.median(name, case).rate
