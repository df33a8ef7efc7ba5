"""The report: the section of docs/performance.md between its markers, as Markdown."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

import psutil

from benchmarks.pgbench import PGBENCH
from benchmarks.results import GOALS, Case, Results
from benchmarks.services import OURS

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
CHART = DOCUMENT.with_suffix(".svg")
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
LIBRARIES = ("aiohttp", "asyncpg", "uvloop", "gunicorn", "PyJWT")


def replace_section(document: str, section: str) -> str:
    """The document with another text between its markers. Raises ValueError if it lacks them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} must have the lines {BEGIN} and {END}: the text between them is replaced.")
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"


def write(section: str) -> None:
    """Puts the report, and the chart that is drawn beside it, into docs/performance.md."""
    section = f"![Requests per second of each service]({CHART.name})\n\n{section}"
    DOCUMENT.write_text(replace_section(DOCUMENT.read_text(encoding="utf-8"), section), encoding="utf-8")


def to_markdown(all_results: Sequence[Results], rounds: int, seconds: int) -> str:
    """The report, without a heading of its own."""
    runs = f"the median of {rounds} interleaved runs of {seconds} s" if rounds > 1 else f"one run of {seconds} s"
    command = f"`python -m benchmarks --rounds {rounds} --seconds {seconds}`"
    parts = [f"Each figure is {runs} ({command}). Each column is a workload and the number of wrk's connections."]
    for results in all_results:
        parts += _section(results)
    parts += ["### Environment", "\n".join(f"- {fact}" for fact in _facts(all_results[0]))]
    return "\n\n".join(part if part.startswith(("#", "|", "-")) else fill(part, 120) for part in parts)


def _section(results: Results) -> Iterator[str]:
    names = [service.name for service in results.services]
    with_pgbench = [*names, *([PGBENCH] if any(name == PGBENCH for name, _ in results.runs) else [])]
    yield f"### {results.title}"
    yield f"Requests per second (Go always has one process, here with GOMAXPROCS={results.processes}):"
    yield _by_case(results, with_pgbench, lambda *case: f"{results.median(*case).rate:,.0f}")
    yield (
        "Microseconds of processor time for each request (user and system): those of all processes of the service + "
        "those of all processes of PostgreSQL, without wrk and pgbench themselves. Other load on the machine changes "
        "these figures less than the rates."
    )
    yield _by_case(results, with_pgbench, partial(_processor_time, results))
    yield "Milliseconds in which 99 % of the requests were answered:"
    yield _by_case(results, names, lambda *case: f"{results.median(*case).p99:,.1f}")
    processes = [f"{each.name} {results.memory[each.name]:,.0f} MB and {each.pool}" for each in results.services]
    yield f"Memory (RSS) of the largest process, and database connections of each process: {', '.join(processes)}."
    if OURS in names and len(with_pgbench) > 1:
        goals = ", and in brackets the goal (**bold**: missed)" if results.processes == 1 else ""
        yield f"Requests per second of {OURS}, divided by those of each of the others{goals}:"
        yield _by_case(results, [name for name in with_pgbench if name != OURS], partial(_ratio, results))


def _processor_time(results: Results, name: str, case: Case) -> str:
    run = results.median(name, case)
    return f"{run.service:,.0f} + {run.postgres:,.0f}" if run.service else f"{run.postgres:,.0f}"


def _ratio(results: Results, name: str, case: Case) -> str:
    ratio, goal = results.ratio(name, case), GOALS.get(name, {}).get(case[0])
    if goal is None or results.processes > 1:
        return f"{ratio:.2f}×"
    return f"{ratio:.2f}× ({goal:g})" if ratio >= goal else f"**{ratio:.2f}×** ({goal:g})"


def _by_case(results: Results, names: Sequence[str], cell: Callable[[str, Case], str]) -> str:
    """A row for each name, and a column for each case. The text of `cell` is padded, to be readable as it is."""
    header = ["", *(f"{workload}, {connections}" for workload, connections in results.cases)]

    def row(name: str) -> list[str]:
        return [name, *(cell(name, case) if (name, case) in results.runs else "" for case in results.cases)]

    rows = [header, *map(row, names)]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [[row[0].ljust(first), *map(str.rjust, row[1:], widths)] for row in rows]
    lines.insert(1, ["-" * first, *("-" * (width - 1) + ":" for width in widths)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _facts(results: Results) -> Iterator[str]:
    """Where and with what it was measured."""
    processor = re.search(r"^model name\s*: (.*)", _output("cat", "/proc/cpuinfo"), re.MULTILINE)
    machine = processor[1] if processor else platform.machine()
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory"
    changes = ", with changes" if _output("git", "status", "--porcelain") else ""
    yield f"{datetime.now(UTC):%Y-%m-%d}, commit {_output('git', 'rev-parse', '--short', 'HEAD')}{changes}"
    yield f"{machine}, {os.cpu_count()} cores, {memory}; {platform.platform()}"
    yield f"PostgreSQL {results.postgres}; {_output('pgbench', '--version')}; {_output('wrk', '-v').partition(' [')[0]}"
    yield f"Python {platform.python_version()}; {', '.join(f'{name} {version(name)}' for name in LIBRARIES)}"
    pgx = _output("dpkg-query", "--show", "--showformat=${Version}", "golang-github-jackc-pgx-v4-dev")
    yield f"{_output('go', 'version')}, pgx {pgx}; node {_output('node', '--version')}; the rest in benchmarks/peers/"


def _output(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, cwd=DOCUMENT.parent, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
