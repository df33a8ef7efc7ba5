"""The pages of the documentation: their lengths, their links, and the commands and files that they name."""

import re
import shlex
import sys

import pytest

from tests.support.pages import PAGES, ROOT, Page, page
from todo_service.__main__ import main

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda each: each.name)

README = page("README.md")

# The programs in the `sh` blocks. A test looks up the commands of `make` and `todo-service`. Other tests follow these
# pages with psql, pg_dump, curl and the generators of clients. The programs of hosting platforms need an account.
PROGRAMS = {"make", "todo-service"}
FOLLOWED = {
    "README.md": "an account",
    "CONTRIBUTING.md": "CI clones and installs",
    "docs/configuration.md": "an account",
    "docs/operations.md": "tests/docs/test_restored_backup.py, test_connection_plan.py and test_secret_rotation.py",
    "docs/adding-a-field.md": "tests/docs/test_adding_a_field.py",
    "docs/clients/README.md": "tests/docs/test_clients.py",
    "docs/deployment/README.md": "tests/docs/test_deployment_files.py",
}


@each_page
def test_a_page_has_at_most_250_lines(page: Page) -> None:
    assert len(page.text.splitlines()) <= 250


def test_readme_is_read_in_three_minutes() -> None:
    assert len(README.text.splitlines()) <= 120
    assert len(README.text.split()) <= 800


@each_page
def test_a_page_begins_with_its_readers(page: Page) -> None:
    if page.name not in ("README.md", "CHANGELOG.md"):
        [first, *_] = page.text.split("\n\n")[1:]
        assert re.match(r"For |.*\bfor\b", first), first


@each_page
def test_links_lead_to_files_and_headings(page: Page) -> None:
    for path, fragment in page.links:
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), path
        if fragment:
            assert fragment in Page(target).anchors, f"{path}#{fragment}"


@each_page
def test_named_files_of_the_code_exist(page: Page) -> None:
    for name in re.findall(r"`((?:todo_service|tests|sql|docs|benchmarks)/[\w/.-]+\.\w+)`", page.prose):
        assert (ROOT / name).exists() or "/0005_" in name, name


@each_page
def test_commands_of_make_and_todo_service_exist(page: Page) -> None:
    targets = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    inline = re.findall(r"`((?:make|todo-service) [^`]+)`", page.prose)
    shown = [command.removeprefix("$ ") for command in page.commands("console") if command.startswith("$ ")]
    for command in [*page.commands(), *shown, *inline]:
        for arguments in re.findall(r"(?:^|[ /'])make ([a-z-][a-z -]*)", command):
            assert set(arguments.split()) <= targets, command
        for arguments in re.findall(r"(?:^|[ /'(])todo-service ([a-z]+[^'\")|;]*)", command):
            with pytest.raises(SystemExit) as ended:
                main([*shlex.split(arguments.partition(" >")[0], comments=True), "--help"])
            assert ended.value.code == 0, command


@each_page
def test_every_other_command_is_run_by_a_test_or_needs_an_account(page: Page) -> None:
    """A page with new commands needs a test that follows it."""
    programs = {command.split()[0].rpartition("/")[2] for command in page.commands()}
    assert programs <= PROGRAMS or page.name in FOLLOWED, programs - PROGRAMS


def test_the_required_python_version_is_the_declared_one() -> None:
    assert "python_requires = >=3.11" in (ROOT / "setup.cfg").read_text()
    assert "You need Python 3.11 to 3.14" in README.text
    assert sys.version_info >= (3, 11)
