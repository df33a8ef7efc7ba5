"""docs/adding-a-field.md: its migration is clean, and gives tasks that are there already the field."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import pytest

from tests.test_sql_lint import squawk
from todo_service.migrations import Migration, migrate, read_migrations

pytestmark = pytest.mark.database

ROOT = Path(__file__).parent.parent
NAME = "0004_add_task_location.sql"


@pytest.fixture
def migration() -> Migration:
    [block] = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "adding-a-field.md").read_text(), re.DOTALL)
    return Migration(NAME, textwrap.dedent(block))


async def test_tasks_that_are_there_get_the_field(empty_database: str, migration: Migration) -> None:
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
    assert json.loads(rows[0]["body"]) == {**before, "location": None}
    assert rows[1]["body"] is None
    assert report[-1] == f"applied {NAME}"
    [function] = await connection.fetch("SELECT pronargs FROM pg_proc WHERE proname = 'task_json'")
    assert function["pronargs"] == 12
    await connection.close()


def test_the_linters_have_nothing_to_say(tmp_path: Path, migration: Migration) -> None:
    file = tmp_path / NAME
    file.write_text(migration.text)
    squawk(file, migration)
    command = [sys.executable, "-m", "sqlfluff", "lint", "--nocolor", "--config", str(ROOT / "setup.cfg"), str(file)]
    lint = subprocess.run(command, capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout
