"""docs/adding-a-field.md: after its steps, in a copy of this checkout, make check and make test pass."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from textwrap import fill

import asyncpg
import pytest

from tests.support.members import NAMES
from tests.support.processes import environment
from tests.support.sql_files import squawk
from todo_service.database.migrations import Migration, migrate, read_migrations

ROOT = Path(__file__).parents[2]
SCRIPTS = sysconfig.get_path("scripts")
IGNORED = [".git", *(line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines())]

EXAMPLE, EXAMPLE_NUMBER = "location", "0005"
FUNCTION = re.compile(r"^CREATE FUNCTION task_json\(\n.*?^\$\$;\n", re.DOTALL | re.MULTILINE)
CALL = re.compile(r"(?<=^    task_json\(\n).*?(?=^    \)\n)", re.DOTALL | re.MULTILINE)


def free_name() -> str:
    """The field's name in the guide, or another name if a task has that member already."""
    name = EXAMPLE
    while name in NAMES:
        name = f"other_{name}"
    return name


NAME = free_name()
NUMBER = f"{int(read_migrations()[-1].name[:4]) + 1:04}"
GUIDE = (ROOT / "docs" / "adding-a-field.md").read_text().replace(EXAMPLE, NAME).replace(EXAMPLE_NUMBER, NUMBER)


@dataclass(frozen=True)
class Block:
    """A code block of a step, with the file that the step changes."""

    path: str
    kind: str
    text: str


def read_blocks() -> list[Block]:
    """The blocks of all steps, in order."""
    steps = re.findall(r"^## \d+\. `([^`]+)`\n(.*?)(?=^## )", GUIDE, re.DOTALL | re.MULTILINE)
    return [
        Block(path, kind, text)
        for path, step in steps
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", step, re.DOTALL | re.MULTILINE)
    ]


def shown_migration() -> Block:
    """The migration in the guide."""
    [block] = [block for block in read_blocks() if block.kind == "sql"]
    return block


def definitions() -> list[Migration]:
    """The migrations that define task_json, the newest last."""
    return [migration for migration in read_migrations() if FUNCTION.search(migration.text)]


def with_field(function: str) -> str:
    """Adds the new field to a definition of task_json: copies each line about `description`."""
    lines = function.splitlines(keepends=True)
    return "".join(line + (line.replace("description", NAME) if "description" in line else "") for line in lines)


def on_top_of(block: str, migration: Migration) -> str:
    """The guide's migration, based on the definition of task_json in another migration."""
    [before] = FUNCTION.findall(migration.text)
    function = with_field(before)
    columns = re.findall(r"^    (\w+) ", function.partition(") RETURNS")[0], re.MULTILINE)
    call = fill(", ".join(columns), 120, initial_indent=" " * 8, subsequent_indent=" " * 8) + "\n"
    return CALL.sub(call, FUNCTION.sub(lambda _: function, block))


def renumbered(diff: str, text: str) -> str:
    """The diff, whose new parameters get the next numbers that the text doesn't use."""
    added = [int(number) for line in diff.splitlines() if line[:1] == "+" for number in re.findall(r"\$(\d+)", line)]
    if not added:
        return diff
    shift = max(int(number) for number in re.findall(r"\$(\d+)", text)) + 1 - min(added)
    return re.sub(
        r"^\+.*",
        lambda line: re.sub(r"\$(\d+)", lambda number: f"${int(number[1]) + shift}", line[0]),
        diff,
        flags=re.MULTILINE,
    )


def patched(text: str, diff: str) -> str:
    """The text with the lines of a diff. Raises ValueError if a context line isn't in the text."""
    lines = text.splitlines()
    place = 0
    for hunk in diff.split("@@\n"):
        new: list[str] = []
        for line in hunk.splitlines():
            if line.startswith("+"):
                new.append(line[1:])
            else:
                found = lines.index(line[1:], place)
                lines[found:found] = new
                place = found + len(new) + 1
                new = []
        lines[place:place] = new
        place += len(new)
    return "\n".join(lines) + "\n"


def ignored(folder: str, names: list[str]) -> set[str]:
    """The names that git ignores."""
    paths = {name: (Path(folder) / name).relative_to(ROOT).as_posix() for name in names}
    return {
        name
        for name, path in paths.items()
        for pattern in IGNORED
        if fnmatch(path if "/" in pattern else name, pattern)
    }


def run_shell(command: str, cwd: Path) -> None:
    """Runs a command of the guide or Makefile with these tests' tools. If it fails, an assertion shows the output."""
    command = command.replace("$(BIN)", ".venv/bin").replace(".venv/bin", SCRIPTS)
    foreign = ("TEST_", "PYTEST_", "COV_", "COVERAGE_")
    variables = {
        name: value for name, value in environment().items() if name == "TEST_NEWEST" or not name.startswith(foreign)
    }
    variables["PYTHONPATH"] = str(cwd)
    ran = subprocess.run(["sh", "-ec", command], cwd=cwd, env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout[-20_000:]}{ran.stderr[-5_000:]}"


def follow(folder: Path) -> None:
    """Follows each step in a folder with a copy of this checkout."""
    for block in read_blocks():
        file = folder / block.path
        if block.kind == "sql":
            file.write_text(on_top_of(block.text, definitions()[-1]))
        elif block.kind == "diff":
            text = file.read_text()
            file.write_text(patched(text, renumbered(block.text, text)))
        else:
            run_shell(block.text, folder)


def contents(folder: Path) -> dict[str, bytes]:
    """The content of each file, by its path."""
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout."""
    folder = tmp_path / "todo-service"
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder


@pytest.fixture
def copy(checkout: Path) -> Path:
    """A copy of this checkout in which every step was followed."""
    follow(checkout)
    return checkout


@pytest.fixture
def migration() -> Migration:
    return Migration(Path(shown_migration().path).name, on_top_of(shown_migration().text, definitions()[-1]))


def test_the_headings_name_exactly_the_files_that_the_steps_change(checkout: Path) -> None:
    named = {block.path for block in read_blocks()}
    before = contents(checkout)
    follow(checkout)
    after = contents(checkout)
    assert {path for path, content in after.items() if before.get(path) != content} == named
    [stated] = re.findall(r"The steps change (\d+) files", GUIDE)
    assert int(stated) == len(named) <= 12


def test_the_guide_shows_the_whole_migration() -> None:
    """The guide may extend any definition of task_json, with any line breaks. So new fields don't change the guide."""
    shown = shown_migration().text
    assert shown.split() in [on_top_of(shown, definition).split() for definition in definitions()]


@pytest.mark.slow
def test_make_check_passes_after_the_steps(copy: Path) -> None:
    [recipe] = re.findall(r"^check:.*\n((?:\t.*\n)+)", (copy / "Makefile").read_text(), re.MULTILINE)
    run_shell(recipe, copy)


@pytest.mark.slow
def test_the_tests_pass_after_the_steps(copy: Path) -> None:
    run_shell('.venv/bin/python -m pytest -q -n 2 --dist loadgroup -m "not slow"', copy)


@pytest.mark.database
async def test_the_migration_adds_the_field_to_existing_tasks(empty_database: str, migration: Migration) -> None:
    report: list[str] = []
    await migrate(empty_database, report.append, read_migrations())
    connection = await asyncpg.connect(empty_database)
    await connection.execute("INSERT INTO users (id, revision) VALUES ('alice', 3)")
    insert = "INSERT INTO tasks (user_id, title, revision, deleted_at) VALUES ('alice', $1, $2, $3::text::timestamptz)"
    await connection.execute(insert, "Buy milk", 2, None)
    await connection.execute(insert, "", 3, "2026-01-01T00:00:00Z")
    [before] = [json.loads(row["body"]) for row in await connection.fetch("SELECT body FROM tasks WHERE title <> ''")]

    await migrate(empty_database, report.append, [*read_migrations(), migration])

    rows = await connection.fetch("SELECT body FROM tasks ORDER BY revision")
    assert json.loads(rows[0]["body"]) == {**before, NAME: None}
    assert rows[1]["body"] is None
    assert report[-1] == f"applied {migration.name}"
    [function] = await connection.fetch("SELECT pronargs FROM pg_proc WHERE proname = 'task_json'")
    assert function["pronargs"] == len([*NAMES, NAME, "deleted_at"])
    await connection.close()


@pytest.mark.slow
def test_the_migration_passes_the_linters(tmp_path: Path, migration: Migration) -> None:
    file = tmp_path / migration.name
    file.write_text(migration.text)
    squawk(file, migration)
    command = [sys.executable, "-m", "sqlfluff", "lint", "--nocolor", "--config", str(ROOT / "setup.cfg"), str(file)]
    lint = subprocess.run(command, capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout
