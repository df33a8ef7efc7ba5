"""The SQL files: the contents of each header, and arguments for its parameters."""

import re
import subprocess
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from todo_service.database.migrations import Migration
from todo_service.database.statements import SQL

PARAMETER = re.compile(
    r"-- \$(?P<number>\d+) (?P<name>[a-z_]+) (?P<type>[a-z]+(?: [a-z]+)*(?:\[\])?)  (?P<meaning>\S.*)"
)
EXPECTS = re.compile(r"-- Expects (?P<indexes>\w+(?: and \w+)*)\.(?: .*)?")


@dataclass(frozen=True)
class Parameter:
    """A line like `-- $4 completed boolean  NULL toggles it`."""

    number: int
    name: str
    type: str
    meaning: str

    @property
    def value(self) -> object:
        """NULL if the parameter may be NULL, otherwise a value of its type."""
        values = {"text": "x", "uuid": uuid4(), "bigint": 1, "boolean": False, "bytea": b"x"}
        return None if "NULL" in self.meaning else values[self.type]


@dataclass(frozen=True)
class SqlFile:
    """A file of sql/, named like `tasks/get_task`."""

    name: str
    text: str

    @property
    def folder(self) -> str:
        return self.name.partition("/")[0]

    @property
    def header(self) -> list[str]:
        """The comment lines at the beginning of the file."""
        lines = self.text.splitlines()
        return lines[: next(n for n, line in enumerate(lines) if not line.startswith("--"))]

    @property
    def code(self) -> str:
        """The text without comments. Lines keep their numbers."""
        return re.sub(r"--.*", "", self.text)

    @property
    def parameters(self) -> list[Parameter]:
        found = [match for line in self.header if (match := PARAMETER.fullmatch(line))]
        return [Parameter(int(match["number"]), match["name"], match["type"], match["meaning"]) for match in found]

    @property
    def indexes(self) -> set[str]:
        """The indexes that the plan must use, according to the header."""
        found = [match for line in self.header if (match := EXPECTS.fullmatch(line))]
        return {index for match in found for index in match["indexes"].split(" and ")}

    def arguments(self, **given: object) -> list[Any]:
        """A value for each parameter, in order: the given value, or a neutral one."""
        assert given.keys() <= {parameter.name for parameter in self.parameters}
        return [given.get(parameter.name, parameter.value) for parameter in self.parameters]


def read_sql_file(path: Path) -> SqlFile:
    return SqlFile(path.relative_to(SQL).with_suffix("").as_posix(), path.read_text(encoding="utf-8"))


FILES = [read_sql_file(path) for path in sorted(SQL.glob("*/*.sql"))]
MIGRATIONS = [file for file in FILES if file.folder == "migrations"]
STATEMENTS = [file for file in FILES if file.folder != "migrations"]
ENDPOINT_STATEMENTS = [file for file in STATEMENTS if file.folder != "maintenance"]
"""The statements of the endpoints."""
USER_STATEMENTS = {
    file.name.removeprefix(f"{file.folder}/"): file for file in ENDPOINT_STATEMENTS if file.folder != "health"
}
"""The statements that use the rows of one user, by the names of their files."""


def for_each(files: Iterable[SqlFile]) -> pytest.MarkDecorator:
    """Runs a test on each file, as its argument `file`."""
    return pytest.mark.parametrize("file", [pytest.param(file, id=file.name) for file in files])


def squawk(path: Path, migration: Migration) -> None:
    """Fails if squawk, a linter of migrations, reports a problem."""
    options = [f"--exclude={','.join(EXCLUDED)}", "--pg-version=15.0", "--reporter=gcc"]
    options += ["--assume-in-transaction"] if migration.in_transaction else []

    lint = subprocess.run([str(SQUAWK), *options, str(path)], capture_output=True, text=True, check=False)

    assert lint.returncode == 0, lint.stdout + lint.stderr


SQUAWK = Path(sysconfig.get_path("scripts")) / "squawk"

EXCLUDED = {
    "require-lock-timeout": "the migration runner sets it for all files",
    "prefer-robust-stmts": "with IF NOT EXISTS, an invalid index of a failed attempt would be accepted",
    "require-statement-timeout": "the time to build an index is unknown",
}
