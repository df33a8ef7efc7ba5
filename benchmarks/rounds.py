"""Interleaved rounds: what is compared runs directly one after another, in an order that turns from round to round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.load import Load, LoadError, run_wrk
from benchmarks.services import Service

WARM_UP = 1  # second

Case = tuple[str, int]
"""A workload, and the number of connections."""


@dataclass(frozen=True)
class Target:
    """Something to be compared: a service, with requests of its own."""

    name: str
    service: Service
    requests: Path


@dataclass(frozen=True)
class Plan:
    """How much is measured: seconds of each run, rounds, and whether a run that doesn't count comes before them."""

    seconds: int
    rounds: int
    warm_up: bool = True


Tick = Callable[[str], None]
"""Is told what is done next."""


class Table:
    """What was measured: for each case and target the load of every round, and the memory of each service in MB."""

    def __init__(self, names: Sequence[str], cases: Sequence[Case]) -> None:
        self.names = list(names)
        self.cases = list(cases)
        self.runs: dict[tuple[Case, str], list[Load]] = {(case, name): [] for case in cases for name in names}
        self.memory = dict.fromkeys(names, 0.0)

    def rate(self, case: Case, name: str) -> float:
        """Requests per second: the median of the rounds."""
        return median(load.rate for load in self.runs[case, name])

    def p50(self, case: Case, name: str) -> float:
        """Milliseconds that half of the requests took at most: the median of the rounds."""
        return median(load.p50 for load in self.runs[case, name])

    def p99(self, case: Case, name: str) -> float:
        """Milliseconds that 99 % of the requests took at most: the median of the rounds."""
        return median(load.p99 for load in self.runs[case, name])


def measure(
    targets: Sequence[Target],
    cases: Sequence[Case],
    plan: Plan,
    tick: Tick,
    after_round: Callable[[], None] = lambda: None,
) -> Table:
    """Measures every target in every case, in every round. Raises LoadError."""
    table = Table([target.name for target in targets], cases)
    workloads = {workload for workload, _ in cases}
    warm_up = ("mixed", 32) if len(workloads) > 1 else cases[0]
    for target in targets if plan.warm_up else ():
        tick(f"{target.name}: warming up")
        _run(target, warm_up, WARM_UP)
    for number in range(plan.rounds):
        first = number % len(targets)
        for case in cases:
            for target in (*targets[first:], *targets[:first]):
                tick(f"{target.name}: {case[0]}, {case[1]} connections, round {number + 1}")
                table.runs[case, target.name].append(_run(target, case, plan.seconds))
                table.memory[target.name] = max(table.memory[target.name], target.service.memory())
        after_round()
    return table


def count_ticks(targets: int, cases: int, plan: Plan) -> int:
    """How often `measure` ticks."""
    return targets * (plan.warm_up + cases * plan.rounds)


def _run(target: Target, case: Case, seconds: int) -> Load:
    workload, connections = case
    try:
        return run_wrk(target.service.address, target.requests, workload, connections, seconds)
    except LoadError as error:
        raise LoadError(f"{target.name}, {workload}, {connections} connections: {error}") from None
