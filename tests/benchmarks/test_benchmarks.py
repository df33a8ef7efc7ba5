"""The benchmarks read, compute and report results correctly. These tests don't measure the service."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks import BenchmarkError
from benchmarks.load import Load, parse
from benchmarks.peers import GO
from benchmarks.pgbench import PGBENCH, to_script
from benchmarks.processor_time import processor_seconds
from benchmarks.report import BEGIN, DOCUMENT, END, replace_section, to_markdown
from benchmarks.results import GOALS, Results, Run, to_run
from benchmarks.services import OURS, Service
from todo_service.database import read_statement

MEASURED = {"requests": 3000, "microseconds": 1_500_000, "p99": 9800, "status": 0, "socket": 0, "timeout": 0}

# A process with one child that has ended, and one that still runs. Each of the three takes 0.3 s of processor time.
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


def results(processes: int, ours: float, theirs: dict[str, float]) -> Results:
    cases = [(workload, connections) for workload in ("list", "get") for connections in (32, 128)]
    names = [OURS, *(name for name in theirs if name != PGBENCH)]
    measured = Results(processes, cases, [Service(name, [], pool=4) for name in names], "18.4")
    measured.memory = dict.fromkeys(names, 64.0)
    for case in cases:
        for name, rate in {OURS: ours, **theirs}.items():
            for factor in (0.5, 1.0, 3.0):
                measured.add(name, case, Run(rate * factor, p99=9.0, service=0 if name == PGBENCH else 40, postgres=20))
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
    assert replace_section(f"a\n{BEGIN}\nold\n{END}\nz\n", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nz\n"
    with pytest.raises(ValueError, match="must have the lines"):
        replace_section("a\nz\n", "new")


def test_the_document_has_the_markers() -> None:
    replace_section(DOCUMENT.read_text(), "new")


def test_the_report_shows_medians_and_ratios_and_marks_missed_goals() -> None:
    assert (GOALS[GO]["list"], GOALS[PGBENCH]["list"]) == (1.25, 0.35)
    alone = results(1, 1100, {GO: 1000, PGBENCH: 2200})
    assert alone.ratio(GO, ("list", 32)) == pytest.approx(1.1)
    report = re.sub(" +", " ", to_markdown([alone, results(2, 2000, {GO: 1000})], rounds=3, seconds=5))
    one, whole = report.split("2 processes each")
    assert f"| {OURS} | 1,100 | 1,100 | 1,100 | 1,100 |" in one
    assert f"| {OURS} | 40 + 20 | 40 + 20 | 40 + 20 | 40 + 20 |" in one
    assert f"| {PGBENCH} | 20 | 20 | 20 | 20 |" in one
    assert f"| {GO} | **1.10×** (1.25) |" in one
    assert f"| {PGBENCH} | 0.50× (0.35) |" in one
    assert f"| {GO} | 2.00× | 2.00× | 2.00× | 2.00× |" in whole
    assert "PostgreSQL 18.4" in whole
