"""sqlfluff holds all of sql/ to its style, squawk the migrations to what a database in use can bear."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.sql_files import MIGRATIONS, SqlFile
from todo_service.database.migrations import Migration
from todo_service.database.statements import SQL

SQUAWK = Path(sysconfig.get_path("scripts")) / "squawk"

EXCLUDED = {
    "require-lock-timeout": "the migration runner sets it for all of them",
    "prefer-robust-stmts": "IF NOT EXISTS would take an invalid index, which a failed attempt left, for a good one",
    "require-statement-timeout": "building an index takes as long as it takes",
}


def test_sqlfluff_has_nothing_to_say() -> None:
    command = [sys.executable, "-m", "sqlfluff", "lint", "--nocolor", "--disable-progress-bar", str(SQL)]

    lint = subprocess.run(command, cwd=SQL.parent, capture_output=True, text=True, check=False)

    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize("file", [pytest.param(file, id=file.name) for file in MIGRATIONS])
def test_squawk_has_nothing_to_say(file: SqlFile) -> None:
    squawk(SQL / f"{file.name}.sql", Migration(file.name, file.text))


def squawk(path: Path, migration: Migration) -> None:
    """Fails with what squawk has to say of a migration."""
    options = [f"--exclude={','.join(EXCLUDED)}", "--pg-version=15.0", "--reporter=gcc"]
    options += ["--assume-in-transaction"] if migration.in_transaction else []

    lint = subprocess.run([str(SQUAWK), *options, str(path)], capture_output=True, text=True, check=False)

    assert lint.returncode == 0, lint.stdout + lint.stderr
