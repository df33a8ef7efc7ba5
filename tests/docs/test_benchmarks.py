"""What the benchmarks read and write is right; how fast anything is, is not for tests to say."""

import json
import re

import pytest

from benchmarks.limit import to_script
from benchmarks.load import Load, LoadError, parse
from benchmarks.report import BEGIN, DOCUMENT, END, replace_section, to_markdown
from benchmarks.results import TIMES_AS_FAST, Results, goals_beside
from benchmarks.rounds import Case, Plan, Table
from benchmarks.services import OURS
from todo_service.database.statements import SQL

MEASURED = {
    "requests": 3000,
    "microseconds": 1_500_000,
    "p50": 1200,
    "p99": 9800,
    "status": 0,
    "socket": 0,
    "timeout": 0,
}


def table(ours: float, theirs: dict[str, float]) -> Table:
    cases: list[Case] = [(workload, connections) for workload in ("list", "get") for connections in (32, 128)]
    measured = Table([OURS, *theirs], cases)
    for case in cases:
        for name, rate in {OURS: ours, **theirs}.items():
            measured.runs[case, name] = [Load(rate * factor, 1.0, 9.0) for factor in (0.5, 1.0, 3.0)]
    return measured


def test_the_last_line_of_wrk_is_what_counts() -> None:
    assert parse(f"Running 1s test\n  1 threads\n\n{json.dumps(MEASURED)}\n") == Load(rate=2000, p50=1.2, p99=9.8)


@pytest.mark.parametrize("wrong", [{"status": 1}, {"socket": 2}, {"timeout": 3}, {"requests": 0}])
def test_a_run_with_failures_does_not_count(wrong: dict[str, int]) -> None:
    with pytest.raises(LoadError):
        parse(json.dumps(MEASURED | wrong))


@pytest.mark.parametrize("name", ["list_tasks", "get_task", "create_task"])
def test_pgbench_gets_the_statement_of_the_service_with_variables_for_parameters(name: str) -> None:
    statement = (SQL / "tasks" / f"{name}.sql").read_text()
    variables = tuple(f"v{number}" for number in range(1, 1 + max(map(int, re.findall(r"\$(\d+)", statement)))))
    script = to_script(statement, variables)
    assert set(re.findall(r"(?<!:):(\w+)", script)) == set(variables)
    back = re.sub(r"(?<!:):v(\d+)", r"$\1", script).replace(".MI.SS", ":MI:SS")
    assert back == re.sub("--.*\n", "", statement)
    assert to_script("SELECT $1, $2, $12", ("a", "b")) == "SELECT :a, :b, NULL"


def test_only_the_section_between_the_markers_is_replaced() -> None:
    assert replace_section(f"a\n{BEGIN}\nold\n{END}\nz\n", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nz\n"
    with pytest.raises(ValueError, match="must have the lines"):
        replace_section("a\nz\n", "new")


def test_the_document_has_the_markers() -> None:
    replace_section(DOCUMENT.read_text(), "new")


def test_goals_compare_medians_and_say_what_is_not_met() -> None:
    peer = next(peer for _, peer in TIMES_AS_FAST)
    results = Results({"Commit": "abc"}, Plan(seconds=5, rounds=3))
    results.tables[1] = table(2000, {peer: 1000})
    goals = list(goals_beside(results, results.tables[1]))
    assert [goal.found for goal in goals] == [(2.0, 2.0), (2.0, 2.0)]
    assert all(goal.met for goal in goals)
    results.tables[1] = table(1100, {peer: 1000})
    assert not any(goal.met for goal in goals_beside(results, results.tables[1]))
    report = to_markdown(results)
    assert "| list | 32 | 1,100 | 1,000 |" in report
    assert "| 1.10× | 1.10× | at least 1.25× | **not met** |" in report
    assert "| Commit | abc |" in report
