"""What was measured, and what it means: ratios, and the goals that they meet or miss."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.limit import Limit
from benchmarks.load import WORKLOADS
from benchmarks.overload import PEAK, TIMES, Overload, percentile_99
from benchmarks.peers import FASTAPI, FASTIFY, GO, PEERS
from benchmarks.rounds import Plan, Table
from benchmarks.scenarios import (
    FEW,
    KNOWN,
    KNOWN_CASES,
    LONG,
    MANY,
    NETWORK_CASES,
    OFF,
    ON,
    PAGE_CASES,
    SHORT,
    in_full,
    not_modified,
)
from benchmarks.services import OURS

PGBENCH = "pgbench"

TIMES_AS_FAST = {
    (workload, peer): at_least
    for peer, goals in {
        GO: (1.25, 1.25, 1.25, 1.25),
        FASTIFY: (2.0, 2.0, 2.0, 2.0),
        FASTAPI: (12.0, 15.0, 15.0, 12.0),
    }.items()
    for workload, at_least in zip(WORKLOADS, goals, strict=True)
}
OF_THE_LIMIT = {"list": 0.35, "get": 0.45, "create": 1.0}
SINGLE_AT_MOST = 1.05
SLOW_NETWORK_AT_LEAST = 16_000.0
KNOWN_AT_MOST = 0.5
GROWTH_AT_MOST = 1.2
OVERLOAD_AT_LEAST = 0.9
REFUSAL_AT_MOST = 100.0  # ms
MEMORY_AT_MOST = 80.0  # MB


@dataclass(frozen=True)
class Goal:
    """Something that was aimed at: what was found, one figure for each column, and what it was to be."""

    what: str
    found: tuple[float, ...]
    bound: float
    at_least: bool
    unit: str = "×"

    @property
    def met(self) -> bool:
        return all(value >= self.bound if self.at_least else value <= self.bound for value in self.found)


@dataclass
class Results:
    """Everything that a run measured; what it left out is missing."""

    facts: dict[str, str]
    plan: Plan
    tables: dict[int, Table] = field(default_factory=dict)  # by the number of processes
    limit: Limit | None = None
    single: Table | None = None
    network: Table | None = None
    delay: float = 0.0  # milliseconds that a round trip on the slow network really takes more
    known: Table | None = None
    pages: Table | None = None
    rows: Table | None = None
    overload: Overload | None = None


def goals_beside(results: Results, table: Table) -> Iterator[Goal]:
    """The goals for rates beside others, with a figure for each number of connections."""
    if OURS not in table.names:
        return
    for peer in (name for name in table.names if name in PEERS):
        for workload in _workloads(table):
            found = _ratios(table, workload, peer)
            yield Goal(f"{workload}, beside {peer}", found, TIMES_AS_FAST[workload, peer], at_least=True)
    if results.limit:
        for workload in (workload for workload in _workloads(table) if workload in OF_THE_LIMIT):
            limit = results.limit.rate(workload)
            found = tuple(table.rate(case, OURS) / limit for case in table.cases if case[0] == workload)
            yield Goal(f"{workload}, beside {PGBENCH}", found, OF_THE_LIMIT[workload], at_least=True)


def goals_alone(results: Results) -> Iterator[Goal]:
    """The goals for this service alone."""
    if results.single:
        for case in results.single.cases:
            found = results.single.p50(case, ON) / results.single.p50(case, OFF)
            what = f"latency of a single client, {case[0]}, {ON} beside {OFF}"
            yield Goal(what, (found,), SINGLE_AT_MOST, at_least=False)
    if results.network:
        rate = results.network.rate(NETWORK_CASES[0], ON)
        yield Goal("get, slow network", (rate,), SLOW_NETWORK_AT_LEAST, at_least=True, unit="/s")
    if results.known:
        for size in KNOWN:
            full, known = (results.known.rate(KNOWN_CASES[0], name(size)) for name in (in_full, not_modified))
            what = f"cost of a list that the client has already, {size} tasks, beside one that it has not"
            yield Goal(what, (full / known,), KNOWN_AT_MOST, at_least=False)
    if results.pages:
        found = results.pages.rate(PAGE_CASES[0], SHORT) / results.pages.rate(PAGE_CASES[0], LONG)
        yield Goal(
            f"cost of the first page of a list {LONG} beside one {SHORT}", (found,), GROWTH_AT_MOST, at_least=False
        )
    if results.rows:
        for case in results.rows.cases:
            found = results.rows.rate(case, FEW) / results.rows.rate(case, MANY)
            yield Goal(f"cost of {case[0]}, {MANY} beside {FEW}", (found,), GROWTH_AT_MOST, at_least=False)
    if 1 in results.tables and OURS in results.tables[1].names:
        memory = results.tables[1].memory[OURS]
        yield Goal("memory of the worker under load", (memory,), MEMORY_AT_MOST, at_least=False, unit=" MB")


def goals_of_overload(overload: Overload) -> Iterator[Goal]:
    """The goals for ten times the load that this service can serve."""
    [name] = overload.table.names
    for workload in _workloads(overload.table):
        found = overload.table.rate((workload, PEAK * TIMES), name) / overload.table.rate((workload, PEAK), name)
        what = f"{workload}, {PEAK * TIMES} connections beside {PEAK}"
        yield Goal(what, (found,), OVERLOAD_AT_LEAST, at_least=True)
    what = f"searches that are served when {TIMES} times as many come as can be served"
    yield Goal(what, (overload.beyond.rate / overload.peak.rate,), OVERLOAD_AT_LEAST, at_least=True)
    found = percentile_99(overload.beyond.refused())
    yield Goal("until 99 % of the others are refused", (found,), REFUSAL_AT_MOST, at_least=False, unit=" ms")
    found = percentile_99(overload.beyond.health)
    yield Goal("until 99 % of /health are answered meanwhile", (found,), REFUSAL_AT_MOST, at_least=False, unit=" ms")


def _workloads(table: Table) -> list[str]:
    return list(dict.fromkeys(workload for workload, _ in table.cases))


def _ratios(table: Table, workload: str, peer: str) -> tuple[float, ...]:
    cases = [case for case in table.cases if case[0] == workload]
    return tuple(table.rate(case, OURS) / table.rate(case, peer) for case in cases)
