"""The stages of a run: what is started when, and what is measured then."""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import Progress

from benchmarks.database import READERS, TASKS_OF_READER, clear, create_database, run_server, seed
from benchmarks.equality import check_equality
from benchmarks.ground import Ground
from benchmarks.limit import Limit
from benchmarks.load import LoadError
from benchmarks.machine import describe
from benchmarks.overload import CASES as OVERLOAD_CASES
from benchmarks.overload import measure_overload
from benchmarks.peers import find_peers
from benchmarks.results import Results
from benchmarks.rounds import Case, Plan, Table, Target, Tick, count_ticks, measure
from benchmarks.scenarios import (
    KNOWN,
    KNOWN_CASES,
    NETWORK_CASES,
    PAGE_CASES,
    ROWS_CASES,
    SINGLE_CASES,
    measure_growth,
    measure_known,
    measure_network,
    measure_single,
)
from benchmarks.services import Competitor, checkout, ours

PARTS = ("rates", "limit", "single", "network", "known", "growth", "overload")
"""What can be measured. The limit is measured between the rounds of the rates, which it is compared with."""

_CASES_ALONE = {"single": SINGLE_CASES, "network": NETWORK_CASES, "known": KNOWN_CASES, "growth": PAGE_CASES}


@dataclass(frozen=True)
class Choice:
    """What is to be measured, and how."""

    plan: Plan
    processes: Sequence[int]
    cases: Sequence[Case]
    parts: Sequence[str]
    only: Sequence[str]
    checkouts: Sequence[Path]
    pool: int | None
    environment: Mapping[str, str]
    binaries: Path | None
    many_rows: bool


def measure_all(choice: Choice, progress: Progress) -> Results:
    """Everything that was chosen; nothing is left running at the end. Raises LoadError or EmbeddedError."""
    if not shutil.which("wrk"):
        raise LoadError("wrk is needed to send the requests: on Debian, `apt install wrk`.")
    if "limit" in choice.parts and not shutil.which("pgbench"):
        progress.console.print("pgbench is left out: on Debian, `apt install postgresql`.")
        choice = replace(choice, parts=[part for part in choice.parts if part != "limit"])
    competitors = _find_competitors(choice, progress.console.print)
    steps = _count_steps(choice, competitors)
    bar = progress.add_task("starting PostgreSQL and filling it", total=steps)

    def tick(what: str) -> None:
        progress.update(bar, advance=1, description=what)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="todo-benchmark-")))
        server = stack.enter_context(run_server(folder / "data", choice.binaries))
        ground = Ground(folder, server, secrets.token_urlsafe(48))
        seed(ground.url, dict.fromkeys(READERS, TASKS_OF_READER))
        results = Results(describe(ground.url, next(iter(competitors.values()))), choice.plan)
        _measure(choice, ground, competitors, results, tick)
        progress.update(bar, completed=steps, description="done")
    return results


def _measure(
    choice: Choice, ground: Ground, competitors: Mapping[int, Sequence[Competitor]], results: Results, tick: Tick
) -> None:
    first, *others = choice.processes
    if "rates" in choice.parts:
        results.limit = Limit(ground) if "limit" in choice.parts else None
        results.tables[first] = _measure_rates(choice, ground, competitors[first], tick, results.limit)
    if "single" in choice.parts:
        results.single = measure_single(ground, _alone(choice), tick)
    if "network" in choice.parts:
        results.network, results.delay = measure_network(ground, _alone(choice), tick)
    if "known" in choice.parts:
        results.known = measure_known(ground, _alone(choice), tick)
    if "growth" in choice.parts:
        results.pages, results.rows = measure_growth(ground, _alone(choice), tick, many=choice.many_rows)
    if "overload" in choice.parts:
        results.overload = measure_overload(ground, _alone(choice), tick)
    for number in others if "rates" in choice.parts else ():
        results.tables[number] = _measure_rates(choice, ground, competitors[number], tick)


def _find_competitors(choice: Choice, report: Callable[[str], None]) -> dict[int, list[Competitor]]:
    """For each number of processes this service and the peers that can be had, as far as they were chosen."""
    found: dict[int, list[Competitor]] = {}
    for processes in choice.processes:
        tell = (lambda _line: None) if found else report  # it would say the same again
        service = ours(processes, **choice.environment)
        chosen = [each for each in (service, *find_peers(processes, tell)) if _is_chosen(each.name, choice.only)]
        chosen += [checkout(folder, service) for folder in choice.checkouts]
        if not chosen:
            raise LoadError("Nothing is left to be measured: no competitor has such a name.")
        found[processes] = [replace(each, pool=choice.pool or each.pool) for each in chosen]
    return found


def _is_chosen(name: str, words: Sequence[str]) -> bool:
    return not words or any(word.lower() in name.lower() for word in words)


def _measure_rates(
    choice: Choice, ground: Ground, competitors: Sequence[Competitor], tick: Tick, limit: Limit | None = None
) -> Table:
    requests = ground.write_requests("requests")
    grounds = [_ground_of(competitor, ground) for competitor in competitors]

    def after_round() -> None:
        if limit:
            limit.measure(choice.plan.seconds, tick)
        for each in dict.fromkeys(each.url for each in grounds):
            clear(each)

    with ExitStack() as stack:
        tick("starting the services")
        services = [
            stack.enter_context(own.run(competitor)) for own, competitor in zip(grounds, competitors, strict=True)
        ]
        tick("checking that all give the same answers")
        check_equality(ground, services)
        targets = [Target(service.name, service, requests) for service in services]
        return measure(targets, choice.cases, choice.plan, tick, after_round)


def _ground_of(competitor: Competitor, ground: Ground) -> Ground:
    """The database of all, or one of its own for another checkout: as its migrations make it."""
    if competitor.folder is None or not (competitor.folder / "sql").is_dir():
        return ground
    own = replace(ground, database=f"checkout_{secrets.token_hex(4)}")
    tasks = dict.fromkeys(READERS, TASKS_OF_READER)
    create_database(ground.server, own.database, tasks, competitor.folder / "sql" / "migrations")
    return own


def _alone(choice: Choice) -> Plan:
    """The plan for this service alone: Python has no compiler that must be warmed up."""
    return replace(choice.plan, warm_up=False)


def _count_steps(choice: Choice, competitors: Mapping[int, Sequence[Competitor]]) -> int:
    plan, parts = choice.plan, choice.parts
    steps = 1
    if "rates" in parts:
        steps += sum(2 + count_ticks(len(each), len(choice.cases), plan) for each in competitors.values())
        steps += 3 * plan.rounds * ("limit" in parts)
    for part, cases in _CASES_ALONE.items():
        steps += count_ticks(2 * len(KNOWN) if part == "known" else 2, len(cases), _alone(choice)) * (part in parts)
    steps += count_ticks(2, len(ROWS_CASES), _alone(choice)) * ("growth" in parts and choice.many_rows)
    steps += (count_ticks(1, len(OVERLOAD_CASES), _alone(choice)) + 1 + 2 * plan.rounds) * ("overload" in parts)
    return steps + ("known" in parts) + ("growth" in parts)
