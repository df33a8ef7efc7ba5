"""The SQL files: each has one statement, which returns one row, and a header that describes it (sql/README.md)."""

import re
from collections import Counter
from uuid import uuid4

import asyncpg
import pytest
from pglast import ast, parse_sql

from tests.support.ownership import FUNCTIONS
from tests.support.sql_files import (
    ENDPOINT_STATEMENTS,
    EXPECTS,
    FILES,
    MIGRATIONS,
    PARAMETER,
    STATEMENTS,
    USER_STATEMENTS,
    SqlFile,
    for_each,
    squawk,
)
from todo_service.database.migrations import NO_TRANSACTION, Migration
from todo_service.database.statements import SQL

pytestmark = pytest.mark.database

VERBS = {
    *("add", "check", "comment", "complete", "create", "delete", "drop", "export", "get", "index", "list", "record"),
    *("renew", "set", "try", "update"),
}

SQL_NAMES = {"bool": "boolean", "int2": "smallint", "int4": "integer", "int8": "bigint"}
"""The types whose names differ in PostgreSQL's catalog and in the headers."""

SESSION_STATE = """
    SELECT 'setting ' || name || ' ' || setting FROM pg_settings
    UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
    UNION ALL SELECT 'advisory lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
    UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
    UNION ALL SELECT 'channel ' || channel FROM pg_listening_channels() AS channel
    UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE name <> ''
    UNION ALL SELECT 'role ' || current_user || ' ' || session_user
"""


# Headers


@for_each(FILES)
def test_a_header_begins_with_the_file_name_and_a_description(file: SqlFile) -> None:
    name, *rest = file.header
    rest = [line for line in rest if line != NO_TRANSACTION]
    sentences = [line for line in rest if not PARAMETER.fullmatch(line) and not EXPECTS.fullmatch(line)]

    assert name == f"-- {file.name}"
    assert sentences
    assert rest[: len(sentences)] == sentences, "the description comes before parameters and indexes"
    assert re.match(r"-- [A-Z]", sentences[0])
    assert sentences[-1].endswith(".")


@for_each(STATEMENTS)
def test_a_header_describes_each_parameter_once_and_in_order(file: SqlFile) -> None:
    used = {int(number) for number in re.findall(r"\$(\d+)", file.code)}

    assert [parameter.number for parameter in file.parameters] == sorted(used)
    assert sorted(used) == [*range(1, len(used) + 1)]


@for_each(STATEMENTS)
async def test_the_parameter_types_are_those_that_postgresql_infers(
    file: SqlFile, connection: asyncpg.Connection
) -> None:
    inferred = [type_.name for type_ in (await connection.prepare(file.text)).get_parameters()]

    assert [parameter.type for parameter in file.parameters] == [SQL_NAMES.get(name, name) for name in inferred]


@for_each(USER_STATEMENTS.values())
def test_the_first_parameter_is_the_owner(file: SqlFile) -> None:
    assert file.header.count("-- $1 user_id text  the owner, from the token") == 1


@for_each(USER_STATEMENTS.values())
def test_a_header_ends_with_the_expected_indexes(file: SqlFile) -> None:
    assert [line for line in file.header if EXPECTS.fullmatch(line)] == file.header[-1:]


# Statements


@for_each(FILES)
def test_a_file_name_begins_with_a_verb(file: SqlFile) -> None:
    words = re.findall(r"[a-z]+", file.name.removeprefix(file.folder))

    assert words[0] in VERBS


@for_each(STATEMENTS)
def test_a_file_is_one_statement_without_templating(file: SqlFile) -> None:
    assert len(parse_sql(file.text)) == 1
    assert file.text.endswith(";\n")
    assert not re.search(r"[{}]|%[s(]|(?<!:):[a-z]", re.sub("'[^']*'", "''", file.code))


@for_each(ENDPOINT_STATEMENTS)
def test_a_statement_returns_exactly_one_row(file: SqlFile) -> None:
    [select] = [raw.stmt for raw in parse_sql(file.text)]

    assert isinstance(select, ast.SelectStmt)
    assert {slot for slot in select if getattr(select, slot)} <= {"withClause", "targetList", "limitOption", "op"}
    assert (select.op, select.limitOption) == (0, 0)
    assert not _parts_that_make_rows(select.targetList)


def _parts_that_make_rows(node: object) -> list[object]:
    """The parts that may return several rows: columns and functions (not in FUNCTIONS), outside of subqueries."""
    match node:
        case ast.SubLink():
            return []
        case ast.ColumnRef():
            return [node]
        case ast.FuncCall(funcname=name) if tuple(part.sval for part in name or ()) not in FUNCTIONS:
            return [node]
        case ast.Node():
            return [found for slot in node for found in _parts_that_make_rows(getattr(node, slot))]
        case tuple():
            return [found for part in node for found in _parts_that_make_rows(part)]
    return []


async def test_statements_leave_no_session_state(connection: asyncpg.Connection) -> None:
    await connection.execute("LOAD 'plpgsql'")  # PL/pgSQL adds its settings when it is first used
    before = Counter(row[0] for row in await connection.fetch(SESSION_STATE))
    user_id = uuid4().hex

    for file in ENDPOINT_STATEMENTS:
        await connection.fetch(file.text, *file.arguments(**({"user_id": user_id} if file.parameters else {})))

    assert Counter(row[0] for row in await connection.fetch(SESSION_STATE)) == before


# Linters


@for_each(MIGRATIONS)
def test_squawk_accepts_each_migration(file: SqlFile) -> None:
    squawk(SQL / f"{file.name}.sql", Migration(file.name, file.text))
