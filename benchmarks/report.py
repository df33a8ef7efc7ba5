"""The report: what was measured, as Markdown, and its place in docs/performance.md."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill

from benchmarks.limit import CLIENTS, Limit
from benchmarks.results import PGBENCH, Goal, Results, goals_alone, goals_beside, goals_of_overload
from benchmarks.rounds import Table
from benchmarks.scenarios import DELAY, NETWORK_CASES, OFF, ON, POOL

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
CHART = DOCUMENT.with_suffix(".svg")
WIDTH = 120
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"


def to_markdown(results: Results) -> str:
    """All that was measured, without a heading of its own."""
    parts = [*_beside(results), *_alone(results), *_where(results)]
    return "\n\n".join(part if part.startswith(("#", "|")) else fill(part, WIDTH) for part in parts)


def replace_section(document: str, section: str) -> str:
    """The document with another text between its markers. Raises ValueError when it doesn't have them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} must have the lines {BEGIN} and {END}: what is between them is replaced.")
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"


def write(results: Results) -> None:
    """Puts the report into docs/performance.md, with the chart that is drawn beside it."""
    chart = f"![Requests per second of each service]({CHART.name})\n\n"
    section = chart + to_markdown(results)
    document = replace_section(DOCUMENT.read_text(encoding="utf-8"), section)
    DOCUMENT.write_text(document, encoding="utf-8")


def _beside(results: Results) -> Iterator[str]:
    plan = results.plan
    rounds = f"the median of {plan.rounds} interleaved rounds" if plan.rounds > 1 else "one round only"
    if results.tables:
        yield (
            f"Requests per second by wrk, {rounds} of {plan.seconds} s. A list has 50 tasks; mixed is 50 % lists, "
            "35 % gets and 15 % creations. All verify the token of each request and reach the database by TCP; it was "
            "checked that they give the same answers."
        )
    first = next(iter(results.tables.values()), None)
    for processes, table in results.tables.items():
        each = "one process" if processes == 1 else f"{processes} processes"
        yield f"### With {each} each"
        yield _rates(table, results.limit if table is first else None)
        yield "Milliseconds within which 99 % of the requests were answered, and memory of the largest process (RSS):"
        yield _latencies(table)
        if processes == 1 and (goals := list(goals_beside(results, table))):
            yield "How many times as fast this service was, and what was aimed at:"
            yield _goals(goals, [f"{connections} connections" for connections in _connections(table)])


def _alone(results: Results) -> Iterator[str]:
    goals = [*goals_alone(results), *(goals_of_overload(results.overload) if results.overload else ())]
    if goals:
        yield "### This service alone"
        yield _goals(goals, ["found"])
    if results.single:
        latencies = [
            f"{case[0]} {results.single.p50(case, ON):.2f} and {results.single.p50(case, OFF):.2f}"
            for case in results.single.cases
        ]
        yield f"Median latency of one client in ms, {ON} and {OFF} (DATABASE_BATCH_SIZE=1): {', '.join(latencies)}."
    if results.network:
        on, off = (results.network.rate(NETWORK_CASES[0], name) for name in (ON, OFF))
        yield (
            f"The slow network is a proxy that adds {DELAY:g} ms to each round trip to the database (measured: "
            f"{results.delay:.2f} ms), with {POOL} connections there and {NETWORK_CASES[0][1]} here: {on:,.0f} gets "
            f"per second {ON}, {off:,.0f} {OFF}."
        )


def _where(results: Results) -> Iterator[str]:
    yield "### Where and with what"
    yield _table(["", ""], [[name, value] for name, value in results.facts.items()], right=False)


def _rates(table: Table, limit: Limit | None) -> str:
    header = ["", "connections", *table.names, *([f"{PGBENCH}, {CLIENTS} clients"] if limit else [])]
    rows = []
    for case in table.cases:
        cells = [f"{table.rate(case, name):,.0f}" for name in table.names]
        if limit:
            cells.append(f"{limit.rate(case[0]):,.0f}" if case[0] in limit.runs else "")
        rows.append([case[0], str(case[1]), *cells])
    return _table(header, rows)


def _latencies(table: Table) -> str:
    most = max(_connections(table))
    rows = [
        [f"{case[0]}, {most} connections", *(f"{table.p99(case, name):,.1f}" for name in table.names)]
        for case in table.cases
        if case[1] == most
    ]
    memory = ["memory in MB", *(f"{table.memory[name]:,.0f}" for name in table.names)]
    return _table(["", *table.names], [*rows, memory])


def _goals(goals: Sequence[Goal], columns: Sequence[str]) -> str:
    rows = []
    for goal in goals:
        bound = f"{'at least' if goal.at_least else 'at most'} {goal.bound:,g}{goal.unit}"
        found = [_figure(value, goal.unit) for value in goal.found]
        rows.append([goal.what, *found, bound, "met" if goal.met else "**not met**"])
    return _table(["", *columns, "goal", ""], rows)


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f}{unit}" if value >= 1000 or unit == " MB" else f"{value:.2f}{unit}"


def _connections(table: Table) -> list[int]:
    return list(dict.fromkeys(connections for _, connections in table.cases))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool = True) -> str:
    ruler = ["---", *(["---:" if right else "---"] * (len(header) - 1))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows))
