"""The results: runs of services, their medians, and ratios between this service and other services."""

import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from math import nan
from statistics import median

from benchmarks.load import WORKLOADS, Load
from benchmarks.peers import FASTAPI, FASTIFY, GO
from benchmarks.pgbench import PGBENCH
from benchmarks.services import OURS, Service

Case = tuple[str, int]  # a workload and a number of connections

GOALS = {  # ratios of this service's requests per second to another service's, with one process each
    GO: dict.fromkeys(WORKLOADS, 1.25),
    FASTIFY: dict.fromkeys(WORKLOADS, 2.0),
    FASTAPI: {"list": 12.0, "get": 15.0, "create": 15.0, "mixed": 12.0},
    PGBENCH: {"list": 0.35, "get": 0.45, "create": 1.0},
}


@dataclass(frozen=True)
class Run:
    """One run of a case: requests per second, and the 99th percentile of their latency in ms (NaN for pgbench).
    `service` (0 for pgbench) and `postgres` are the processor time per request in µs."""

    rate: float
    p99: float
    service: float
    postgres: float

    @property
    def processor_time(self) -> float:
        return self.service + self.postgres


def to_run(load: Load, service: float, postgres: float) -> Run:
    """Divides the processor seconds of the service and of PostgreSQL by the requests that were answered."""
    per_request = 1e6 / load.requests
    return Run(load.requests / load.seconds, load.p99, service * per_request, postgres * per_request)


@dataclass
class Results:
    """All runs with one number of processes. `postgres` is the version, `memory` the largest RSS of a process in MB."""

    processes: int
    cases: Sequence[Case]
    services: Sequence[Service]
    postgres: str
    runs: dict[tuple[str, Case], list[Run]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, case: Case, run: Run) -> None:
        self.runs.setdefault((name, case), []).append(run)

    @property
    def title(self) -> str:
        each = "one process each" if self.processes == 1 else f"{self.processes} processes each"
        return f"The whole machine: {each}" if self.processes == os.cpu_count() else each.capitalize()

    @property
    def names(self) -> list[str]:
        """The services and, if it was measured, pgbench."""
        return list(dict.fromkeys(name for name, _ in self.runs))

    @property
    def busiest(self) -> list[Case]:
        """The cases with the most connections."""
        return [case for case in self.cases if case[1] == max(connections for _, connections in self.cases)]

    def median(self, name: str, case: Case) -> Run:
        """The median of each measure over the rounds; NaN if the case was not measured."""
        runs = self.runs.get((name, case), [Run(nan, nan, nan, nan)])
        return Run(*map(median, zip(*map(astuple, runs), strict=True)))

    def ratio(self, name: str, case: Case) -> float:
        """This service's requests per second, divided by those of another service."""
        return self.median(OURS, case).rate / self.median(name, case).rate
