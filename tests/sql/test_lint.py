"""sqlfluff holds all of sql/ to its style, squawk the migrations to what a database in use can bear."""

import subprocess
import sys

import pytest

from tests.support.sql_files import MIGRATIONS, SqlFile, squawk
from todo_service.database.migrations import Migration
from todo_service.database.statements import SQL


@pytest.mark.slow
def test_sqlfluff_has_nothing_to_say() -> None:
    command = [sys.executable, "-m", "sqlfluff", "lint", "--nocolor", "--disable-progress-bar", str(SQL)]

    lint = subprocess.run(command, cwd=SQL.parent, capture_output=True, text=True, check=False)

    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize("file", [pytest.param(file, id=file.name) for file in MIGRATIONS])
def test_squawk_has_nothing_to_say(file: SqlFile) -> None:
    squawk(SQL / f"{file.name}.sql", Migration(file.name, file.text))
