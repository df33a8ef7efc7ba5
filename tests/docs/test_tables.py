"""The tables and figures of README.md and docs/ agree with the code."""

import dataclasses
import re
from pathlib import Path

from tests.faults.conftest import HEADER
from tests.support.members import CHANGED, CREATED, EQUAL, IGNORED, NAMES
from tests.support.pages import ROOT, names_in, page
from todo_service.app import API, DOCS, SUPPORT
from todo_service.database.connecting import server_settings
from todo_service.problems import TYPES
from todo_service.settings import Settings

CODE = ROOT / "todo_service"


def test_readme_has_each_endpoint_with_its_handler_and_statements() -> None:
    routes = {
        (route.method, re.sub(r"{(\w+):[^}]*}", r"{\1}", route.path)): route
        for route in (*API, *SUPPORT, *DOCS)
        if not route.path.startswith("/docs/static/")
    }
    documented = set()
    for endpoint, _success, function, statements in page("README.md").table("Endpoints"):
        method, path = endpoint.strip("`").split()
        documented.add((method, path))
        handler = routes[method, path].handler
        assert f"`{handler.__name__}`" == function
        assert method in (handler.__doc__ or "")
        assert path in (handler.__doc__ or "")
        for statement in names_in(statements):
            assert list((ROOT / "sql").glob(f"*/{statement}.sql")), statement
    assert documented == {name for name, route in routes.items() if not route.public}
    [public] = re.findall(r"These need no token:.*?\n\n", page("README.md").text, re.DOTALL)
    assert {("GET", path) for path in re.findall(r"`GET ([^`]+)`", public)} == routes.keys() - documented


def test_api_has_each_member_of_a_task() -> None:
    rows = page("docs/api.md").table("The task")
    assert [row[0].strip("`") for row in rows] == NAMES
    assert {row[0].strip("`") for row in rows if row[2]} == CREATED.keys()
    patched = {"yes": CHANGED.keys(), "must be equal": EQUAL, "ignored": IGNORED}
    assert {row[0].strip("`"): row[3] for row in rows} == {
        name: text for text, names in patched.items() for name in names
    }


def test_api_has_each_query_parameter_of_a_list() -> None:
    [route] = [route for route in API if (route.method, route.path) == ("GET", "/api/tasks")]
    api = page("docs/api.md")
    rows = [*api.table("Page through a list"), *api.table("Filter and search")]
    documented = [name for row in rows for name in names_in(row[0])]
    assert sorted(documented) == sorted(field.data_key or name for name, field in route.query.fields.items())


def test_api_has_each_type_of_a_problem_with_its_status() -> None:
    rows = page("docs/api.md").table("Handle errors")
    assert sorted(name for row in rows for name in names_in(row[1])) == sorted(TYPES)
    for statuses, types, _ in rows:
        assert {int(status) for status in statuses.split(", ")} == {TYPES[name].status for name in names_in(types)}


def test_configuration_has_each_setting_with_default_and_meaning() -> None:
    expected = []
    for field in dataclasses.fields(Settings):
        variable = field.metadata["variable"]
        if variable.internal:
            continue
        default = "required" if field.default is dataclasses.MISSING else f"`{field.default}`"
        expected.append([f"`{variable.name}`", "" if field.default in ("", ()) else default, variable.text])
    assert page("docs/configuration.md").table("Settings") == expected


def test_architecture_has_the_path_of_a_request() -> None:
    architecture = page("docs/architecture.md")
    files = [row[1].strip("`") for row in architecture.table("The path of a request") if row[0]]
    paths = [CODE / name for name in files if name.endswith(".py")]
    stated = re.findall(r"The (\d+) numbered Python files have fewer than ([\d,]+) lines", architecture.text)
    [[number, lines]] = stated
    assert len(paths) == int(number)
    assert sum(len(path.read_text().splitlines()) for path in paths) < int(lines.replace(",", ""))
    assert all((ROOT / name).exists() for name in files if name.endswith(".sql"))


def test_architecture_has_each_package_in_the_order_of_imports() -> None:
    """The order is that of the contract in setup.cfg, which `make check` tests."""
    rows = page("docs/architecture.md").table("The packages")
    documented = [{name.strip("/").removesuffix(".py") for name in names_in(row[0])} for row in rows]
    [layers] = re.findall(r"^layers =\n((?:    .*\n)+)", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert documented == [set(layer.strip().split(" | ")) for layer in layers.splitlines()]


def test_architecture_names_only_files_that_exist() -> None:
    folder = CODE
    for name in re.findall(r"`([\w/]+\.py)`", page("docs/architecture.md").section("Written by hand, and why")):
        path = Path(name)
        folder = CODE / path.parent if len(path.parts) > 1 else folder
        assert (CODE / name).exists() or (folder / name).exists(), name


def test_architecture_has_each_setting_of_a_session(settings: Settings) -> None:
    [row, *_] = page("docs/architecture.md").table("SQL that is not in `sql/`")
    sent = {name for name in server_settings(settings) if not name.startswith("tcp_")}
    assert set(names_in(row[0])) == sent


def test_faults_has_the_columns_and_rows_of_the_tests() -> None:
    lines = page("docs/faults.md").text.splitlines()
    assert HEADER.splitlines()[0] in lines
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py"))
    for name, *_ in page("docs/faults.md").table("Results"):
        assert name in tests or re.search(r"for \d|\d+ ms slower", name), name


def test_readme_and_faults_have_the_sums_of_the_table() -> None:
    faults = page("docs/faults.md").table("Results")
    requests, writes = (sum(int(row[column].replace(",", "")) for row in faults) for column in (1, 2))
    [row] = [row for row in page("README.md").text.splitlines() if row.startswith("| **No lost write")]
    assert f"{len(faults)} faults" in row
    assert f"{writes:,} acknowledged writes" in row
    sentence = f"In {len(faults) * 20} faults with {requests:,} requests and {writes:,} acknowledged writes"
    assert sentence in page("docs/faults.md").text


def test_readme_has_figures_of_the_benchmark() -> None:
    [row] = [row for row in page("README.md").text.splitlines() if row.startswith("| **Little processor time")]
    figures = {cells[0]: cells for cells in page("docs/performance.md").table("Results")}
    list_us, create_us = 5, 7
    for service in ("todo-service", "Go + pgx", "FastAPI + SQLModel"):
        for column in (list_us, create_us):
            assert figures[service][column].strip("*") in row
