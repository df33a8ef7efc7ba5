"""The benchmarks parse, compute and write correctly. No test measures the speed of the service."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from math import nan

import pytest

from benchmarks import BenchmarkError
from benchmarks.load import WORKLOADS, Load, parse
from benchmarks.peers import FASTAPI, FASTIFY, GO
from benchmarks.pgbench import PGBENCH, to_script
from benchmarks.processor_time import processor_seconds
from benchmarks.report import CHART, DOCUMENT, replace_section, to_sections
from benchmarks.results import GOALS, Results, Run, to_run
from benchmarks.services import OURS, PLAIN_POOL, Service
from todo_service.database import read_statement

MEASURED = {"requests": 3000, "microseconds": 1_500_000, "p99": 9800, "status": 0, "socket": 0, "timeout": 0}

# A process with a child that has ended and a child that still runs. Each of the three takes 0.3 s of processor time.
BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"
FAMILY = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BUSY!r}], check=True)
child = subprocess.Popen([sys.executable, "-c", {BUSY + "print(flush=True); input()"!r}], stdout=-1, stdin=-1)
child.stdout.readline()
{BUSY}
print(flush=True)
input()
child.communicate(b"\\n")
"""


PEERS = {OURS: 1000, PLAIN_POOL: 900, GO: 900, FASTIFY: 900, FASTAPI: 900, PGBENCH: 9000}


def results(processes: int, rates: Mapping[str, float]) -> Results:
    cases = [(workload, connections) for workload in WORKLOADS for connections in (32, 128)]
    names = [name for name in rates if name != PGBENCH]
    measured = Results(processes, cases, [Service(name, [], pool=4) for name in names], "18.4")
    measured.memory = dict.fromkeys(names, 64.0)
    for case in cases:
        for name, rate in rates.items():
            for factor in (0.5, 1.0, 3.0):
                p99, service = (nan, 0) if name == PGBENCH else (9.0, 40)
                measured.add(name, case, Run(rate * factor, p99, service, postgres=20))
    return measured


def test_the_result_is_read_from_the_last_line_of_wrk() -> None:
    assert parse(f"Running 1s test\n  1 threads\n\n{json.dumps(MEASURED)}\n") == Load(3000, seconds=1.5, p99=9.8)


@pytest.mark.parametrize("wrong", [{"status": 1}, {"socket": 2}, {"timeout": 3}, {"requests": 0}])
def test_a_run_with_failed_requests_raises_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(BenchmarkError):
        parse(json.dumps(MEASURED | wrong))


@pytest.fixture
def process_tree() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


def test_processor_time_includes_children_that_run_and_children_that_have_ended(process_tree: int) -> None:
    assert processor_seconds(process_tree) > 0.8  # the system counts in steps of 0.01 s


def test_processor_time_is_divided_by_the_requests_that_were_answered() -> None:
    run = to_run(Load(requests=3000, seconds=1.5, p99=9.8), service=0.12, postgres=0.06)
    assert (run.rate, run.p99) == (2000, 9.8)
    assert (run.service, run.postgres) == pytest.approx((40, 20))


@pytest.mark.parametrize("name", ["list_tasks", "get_task", "create_task"])
def test_pgbench_gets_the_statement_of_the_service_with_variables_for_parameters(name: str) -> None:
    statement = read_statement(f"tasks/{name}").text
    variables = [f"v{number}" for number in range(1, 1 + max(map(int, re.findall(r"\$(\d+)", statement))))]
    script = to_script(statement, variables)
    assert set(re.findall(r"(?<!:):(\w+)", script)) == set(variables)
    back = re.sub(r"(?<!:):v(\d+)", r"$\1", script).replace(".MI.SS", ":MI:SS")
    assert back == re.sub("--.*\n", "", statement)
    assert to_script("SELECT $1, $2, $12", ["a", "b"]) == "SELECT :a, :b, NULL"


def test_only_the_section_between_the_markers_is_replaced() -> None:
    document = "a\n<!-- results -->\nold\n<!-- /results -->\nz\n<!-- details -->\n"
    expected = "a\n<!-- results -->\n\nnew \\1\n\n<!-- /results -->\nz\n<!-- details -->\n"
    assert replace_section(document, "results", "new \\1") == expected
    with pytest.raises(ValueError, match="must have the lines"):
        replace_section(document, "details", "new")


def layout(text: str) -> list[str]:
    """The headings, and the header and the services of each table."""
    lines = (re.sub(r" +", " ", line) for line in text.splitlines())
    return [line if line.startswith(("#", "| |")) else line.split(" | ")[0] for line in lines if line[:1] in ("#", "|")]


def test_the_document_has_the_layout_of_the_report() -> None:
    document = DOCUMENT.read_text()
    for name, text in to_sections([results(1, PEERS), results(2, PEERS)], rounds=3, seconds=3).items():
        _, section = re.split(f"<!-- /?{name} -->", document)[:2]
        assert layout(section) == layout(text)


def test_the_chart_shows_the_figures_of_the_document() -> None:
    table = DOCUMENT.read_text().partition("<!-- results -->")[2]
    figures = re.findall(r"[\d,]+", table[table.index(OURS) :].partition("\n")[0])
    assert len(figures) == 8
    assert re.findall(r">([\d,]+)</text>", CHART.read_text()) == figures


def test_the_report_shows_medians_and_the_goals_that_are_missed() -> None:
    assert (GOALS[GO]["list"], GOALS[PGBENCH]["list"]) == (1.25, 0.35)
    one = results(1, {OURS: 1100, GO: 1000, PGBENCH: 2200})
    assert one.ratio(GO, ("list", 32)) == pytest.approx(1.1)
    report = to_sections([one, results(2, {OURS: 900, GO: 1000})], rounds=3, seconds=5)
    main, details = (re.sub(" +", " ", report[name]) for name in ("results", "details"))
    assert f"| {OURS} | **1,100** | **1,100** | **1,100** | **1,100** | **60** | **60** | **60** | **60** |" in main
    assert f"- **{GO}**: list 1.10× and 1.10× (goal: 1.25×), get 1.10× and 1.10× (goal: 1.25×)" in main
    assert f"- **{PGBENCH}**: get" not in main
    assert f"- **{GO}**: list 0.90× and 0.90×, get 0.90× and 0.90×, create" in main
    assert f"| {OURS} | 1 | 40 + 20 | 40 + 20 |" in details
    assert f"| {PGBENCH} | 1 | 20 | 20 |" in details
    assert "PostgreSQL 18.4" in details
