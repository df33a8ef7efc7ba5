"""The report: the Markdown of the sections of docs/performance.md between markers."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from math import isnan, nan
from operator import attrgetter
from pathlib import Path
from textwrap import fill

import psutil

from benchmarks.load import WORKLOADS
from benchmarks.pgbench import PGBENCH
from benchmarks.results import GOALS, Results, Run
from benchmarks.services import OURS

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
CHART = DOCUMENT.with_suffix(".svg")


def replace_section(document: str, name: str, text: str) -> str:
    """Returns the document with this text between a section's markers. Raises ValueError if a marker is missing."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in document or end not in document:
        raise ValueError(f"{DOCUMENT.name} must have the lines {begin} and {end}: the report is written between them.")
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n\n{text}\n\n{end}", document, flags=re.DOTALL)


def write(sections: Mapping[str, str]) -> None:
    """Replaces the sections of docs/performance.md."""
    document = DOCUMENT.read_text(encoding="utf-8")
    for name, text in sections.items():
        document = replace_section(document, name, text)
    DOCUMENT.write_text(document, encoding="utf-8")


def to_sections(all_results: Sequence[Results], rounds: int, seconds: int) -> dict[str, str]:
    """Returns the text of each section. The section `results` has the main figures, from the first results."""
    sections = {"results": _main(all_results, rounds, seconds), "details": _details(all_results)}
    return {
        name: "\n\n".join(part if part.startswith(("#", "|", "-")) else fill(part, 120) for part in parts)
        for name, parts in sections.items()
    }


def _main(all_results: Sequence[Results], rounds: int, seconds: int) -> Iterator[str]:
    first = all_results[0]
    yield (
        f"{first.title}, {first.busiest[0][1]} connections, medians of "
        f"`python -m benchmarks --rounds {rounds} --seconds {seconds}`. **Bold**: the best service."
    )
    columns = [["", *first.names]]
    for unit, measure, choose in (("/s", attrgetter("rate"), max), ("µs", attrgetter("processor_time"), min)):
        for case in first.busiest:
            figures = [measure(first.median(name, case)) for name in first.names]
            best = choose(figures[: len(first.services)])  # without pgbench, which is the last one
            shown = (f"**{_show(figure)}**" if figure == best else _show(figure) for figure in figures)
            columns.append([f"{case[0]} {unit}", *shown])
    yield _table([*zip(*columns, strict=True)])
    if OURS in first.names and len(first.names) > 1:
        yield "## Goals not met"
        connections = " and ".join(dict.fromkeys(str(connections) for _, connections in first.cases))
        yield f"Requests per second of {OURS} divided by those of the other service, at {connections} connections."
        for results in all_results:
            yield f"{results.title}{'. No goals are set. These are faster in some cases' * (results.processes > 1)}:"
            yield "\n".join(_shortfalls(results)) or "- none"


def _shortfalls(results: Results) -> Iterator[str]:
    """A line for each service with a ratio that misses its goal."""
    for name in results.names:
        goals = GOALS.get(name, {}) if results.processes == 1 else dict.fromkeys(WORKLOADS, float(name != PGBENCH))
        missed = []
        for workload, goal in goals.items():
            ratios = [results.ratio(name, case) for case in results.cases if case[0] == workload]
            if min(ratios, default=goal) < goal:
                ending = f" (goal: {goal:g}×)" if results.processes == 1 else ""
                missed.append(f"{workload} {' and '.join(f'{ratio:.2f}×' for ratio in ratios)}{ending}")
        if missed:
            yield f"- **{name}**: {', '.join(missed)}"


def _details(all_results: Sequence[Results]) -> Iterator[str]:
    yield "### Requests per second"
    yield _by_case(all_results, lambda run: _show(run.rate))
    yield "### Processor time per request in µs: service + PostgreSQL"
    yield _by_case(all_results, lambda run: f"{_show(run.service or nan)} + {_show(run.postgres)}".strip(" +"))
    yield "### Latency in ms: 99th percentile"
    yield _by_case(all_results, lambda run: _show(run.p99, digits=1))
    yield "### Memory (RSS) of the largest process, and database connections of each process"
    for results in all_results:
        processes = [f"{each.name}: {results.memory[each.name]:,.0f} MB and {each.pool}" for each in results.services]
        yield f"{results.title}. {'; '.join(processes)}."
    yield "### Environment"
    yield "\n".join(f"- {fact}" for fact in _facts(all_results[0]))


def _show(figure: float, digits: int = 0) -> str:
    """The figure with commas; nothing for a case that was not measured."""
    return "" if isnan(figure) else f"{figure:,.{digits}f}"


def _by_case(all_results: Sequence[Results], cell: Callable[[Run], str]) -> str:
    """A table with a column for each case, and a row for each service and number of processes."""
    rows = [["", "processes", *(f"{workload}, {connections}" for workload, connections in all_results[0].cases)]]
    for results in all_results:
        for name in results.names:
            cells = (cell(results.median(name, case)) for case in results.cases)
            rows.append([name, str(results.processes), *cells])
    return _table([row for row in rows if any(row[2:])])


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is the header. The cells are padded, so that the Markdown is readable as text."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [[row[0].ljust(first), *map(str.rjust, row[1:], widths)] for row in rows]
    lines.insert(1, ["-" * first, *("-" * (width - 1) + ":" for width in widths)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _facts(results: Results) -> Iterator[str]:
    processors = re.findall(r"^model name\s*: (.*)", _output("cat", "/proc/cpuinfo"), re.MULTILINE)
    libraries = (f"{name} {version(name)}" for name in ("aiohttp", "asyncpg", "uvloop", "gunicorn", "PyJWT"))
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory"
    changes = ", with changes" if _output("git", "status", "--porcelain") else ""
    yield f"{datetime.now(UTC):%Y-%m-%d}, commit {_output('git', 'rev-parse', '--short', 'HEAD')}{changes}"
    yield f"{[*processors, platform.machine()][0]}, {os.cpu_count()} cores, {memory}; {platform.system()}"
    yield f"PostgreSQL {results.postgres}; {_output('pgbench', '--version')}; {_output('wrk', '-v').partition(' [')[0]}"
    yield f"Python {platform.python_version()}; {', '.join(libraries)}"
    pgx = _output("dpkg-query", "--show", "--showformat=${Version}", "golang-github-jackc-pgx-v4-dev")
    yield f"{_output('go', 'version')}, pgx {pgx}; node {_output('node', '--version')}; the rest in benchmarks/peers/"


def _output(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, cwd=DOCUMENT.parent, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
