"""README.md is right: its sessions, tables, commands and links."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.external_programs import require
from tests.support.members import CREATED, NAMES
from tests.support.processes import COMMAND, SECRET, environment, served
from todo_service.app import API, DOCS, SUPPORT
from todo_service.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9]{16}\b")  # or a revision made from a time


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, without its two header lines."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_endpoint_table_has_each_route_with_its_handler_and_statements() -> None:
    """The table also shows which routes need a token."""
    routes = {
        (route.method, re.sub(r"{(\w+):[^}]*}", r"{\1}", route.path)): route
        for route in (*API, *SUPPORT, *DOCS)
        if not route.path.startswith("/docs/static/")
    }
    documented = {}
    for endpoint, success, function, statements in rows("The API"):
        method, path = endpoint.strip("`").split()
        documented[method, path] = (function.strip("`"), re.findall(r"`([a-z_*]+)`", statements))
        assert ("without a token" in success) == routes[method, path].public, endpoint
    assert documented.keys() == routes.keys()
    for (method, path), (name, names) in documented.items():
        handler = routes[method, path].handler
        assert name in (handler.__name__, "")
        assert method in (handler.__doc__ or "")
        assert path in (handler.__doc__ or "")
        for statement in names:
            assert list((ROOT / "sql").glob(f"*/{statement}.sql"))


def test_the_text_names_each_member_of_a_task() -> None:
    members, writing = (README.partition(begin)[2].partition("\n\n")[0] for begin in ("**A task** has", "**Writing.**"))
    named = dict.fromkeys(re.findall(r"`([a-z_]+)`", members))
    assert [name for name in named if name in NAMES] == NAMES
    assert CREATED.keys() <= set(re.findall(r"`([a-z_]+)`", writing.partition("`PATCH`")[0]))


def test_the_settings_table_has_each_variable_with_default_and_meaning() -> None:
    expected = []
    for field in dataclasses.fields(Settings):
        variable = field.metadata["variable"]
        if variable.internal:
            continue
        default = "required" if field.default is dataclasses.MISSING else f"`{field.default}`"
        expected.append([f"`{variable.name}`", "" if field.default in ("", ()) else default, variable.text])
    assert rows("Settings") == expected


def test_the_commands_of_make_and_todo_service_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE)) == targets - {"format", "clean"}
    for command in set(re.findall(r"todo-service ([a-z]+)", README)):
        subprocess.run([COMMAND, command, "--help"], check=True, capture_output=True)


def test_linked_and_named_files_exist() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    for name in re.findall(r"`([a-z_/]+\.py)`", README):
        assert (ROOT / "todo_service" / name.removeprefix("todo_service/")).exists(), name


def test_the_path_of_a_request_has_the_stated_number_of_files_and_lines() -> None:
    [paragraph] = re.findall(r"\*\*The way of a request\*\*.*?(?=\n\d\.)", README, re.DOTALL)
    [files, lines] = re.findall(r"is (\d+) Python files with fewer than ([0-9,]+) lines", paragraph)[0]
    paths = [ROOT / "todo_service" / name for name in re.findall(r"`([a-z_/]+\.py)`", paragraph)]
    assert len(paths) == int(files)
    assert sum(len(path.read_text().splitlines()) for path in paths) < int(lines.replace(",", ""))


def session() -> Iterator[tuple[str, str]]:
    """The commands of all sessions, each with its output."""
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", "").partition("\n")
            yield command, output.strip()


def without_times(text: str) -> str:
    """The text with null for each created_at and updated_at."""
    return re.sub(r'("(?:created|updated)_at":)"[^"]+"', r"\1null", text)


def header_lines(head: str) -> set[str]:
    """The lines in lower case, because case doesn't matter in names; the status line without its phrase."""
    return {re.sub(r"^(http/1.1 \d+).*", r"\1", line.lower()) for line in head.splitlines()}


def parts(text: str) -> tuple[str, str]:
    """The head and the body of a response; the head is empty if curl doesn't show it."""
    head, _, body = text.partition("\n\n") if text.startswith("HTTP/") else ("", "", text)
    return head, without_times(body).strip()


def assert_matches(shown: str, actual: str) -> None:
    """README may leave out headers; the ids in `shown` have been replaced by those of the response."""
    (head, body), (actual_head, actual_body) = parts(shown), parts(actual)
    assert actual_body == body
    assert header_lines(head) <= header_lines(actual_head)


@pytest.mark.slow
@pytest.mark.database
def test_the_commands_of_the_sessions_get_the_shown_responses(service_database_url: str, tmp_path: Path) -> None:
    require("curl")
    (tmp_path / ".todo-service").mkdir()
    (tmp_path / ".todo-service" / "secret").write_text(SECRET)
    variables = ""
    ids: dict[str, str] = {}
    checked = 0
    with served(tmp_path / "log", DATABASE_URL=service_database_url) as (_, url):
        for command, shown in session():
            line = command.replace(".venv/bin/todo-service", COMMAND).replace(ADDRESS, url)
            line = ID.sub(lambda match: ids.get(match[0], match[0]), line)
            if not shown:
                variables += f"{line}\n"
                continue
            script = (variables + line).replace("curl ", "curl --silent --show-error ")
            ran = subprocess.run(
                ["bash", "-ec", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
            )
            actual = ran.stdout.replace("\r", "").strip()
            ids.update(zip(ID.findall(shown), ID.findall(actual), strict=False))
            assert_matches(ID.sub(lambda match: ids[match[0]], shown), actual)
            checked += 1
    assert checked == 20


def test_the_required_python_version_is_the_declared_one() -> None:
    assert "python_requires = >=3.11" in (ROOT / "setup.cfg").read_text()
    assert "Python 3.11 or later" in README
    assert sys.version_info >= (3, 11)
