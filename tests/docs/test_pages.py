"""The pages of the documentation: their lengths, their links, and the commands and files that they name."""

import re
import shlex
import sys

import pytest

from tests.support.pages import MAKE_TARGETS, PAGES, ROOT, Page, page
from todo_service.__main__ import main

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda each: each.name)

README = page("README.md")

# The programs in the `sh` blocks of each page. The test of the page runs them, except those of hosting platforms, which
# need an account, and those that change a whole machine: docs/deployment/README.md says what was run by hand.
PROGRAMS = {
    "README.md": {"heroku", "git", "curl"},
    "CONTRIBUTING.md": {"git"},
    "docs/configuration.md": {"heroku"},
    "docs/operations.md": {"heroku", "git", "psql", "pg_dump", "pg_restore", "curl"},  # test_restored_backup.py
    "docs/performance.md": {"wrk", "curl", "python"},
    "docs/clients/README.md": {"export", "cd", "python3", "pip", "openapi-python-client", "mypy", "python", "npm"},
    "docs/deployment/README.md": {
        *("heroku", "fly"),
        *("apt-get", "cd", "curl", "export", "git", "install", "pip", "python3", "rm", "sed", "sudo", "systemctl"),
        *("a2enmod", "a2ensite", "apachectl", "certbot", "ln", "nginx", "systemd-run"),
    },
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
    inline = re.findall(r"`((?:make|todo-service) [^`]+)`", page.prose)
    shown = [command.removeprefix("$ ") for command in page.commands("console") if command.startswith("$ ")]
    for command in [*page.commands(), *shown, *inline]:
        for arguments in re.findall(r"(?:^|[ /'])make ([a-z-][a-z -]*)", command):
            assert set(arguments.split()) <= MAKE_TARGETS, command
        for arguments in re.findall(r"(?:^|[ /'(])todo-service ([a-z]+[^'\")|;]*)", command):
            with pytest.raises(SystemExit) as ended:
                main([*shlex.split(arguments.partition(" >")[0], comments=True), "--help"])
            assert ended.value.code == 0, command


@each_page
def test_a_page_has_only_commands_whose_programs_are_known(page: Page) -> None:
    """A page with another program needs a test that runs it, or a reason why no test can."""
    commands = [re.sub(r"^\w+=(\$\(|\S+ )", "", command) for command in page.commands()]
    programs = {command.split()[0].rpartition("/")[2] for command in commands}
    assert programs - {"make", "todo-service"} == PROGRAMS.get(page.name, set())


def test_the_required_python_version_is_the_declared_one() -> None:
    assert "python_requires = >=3.11" in (ROOT / "setup.cfg").read_text()
    assert "You need Python 3.11 to 3.14" in README.text
    assert sys.version_info >= (3, 11)
