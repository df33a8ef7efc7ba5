"""Each SQL file keeps the rules of sql/README.md: its header, its parameters, its one row, its owner."""

import re
from collections import Counter
from uuid import uuid4

import asyncpg
import pytest
from pglast import ast, parse_sql

from tests.support.ownership import FUNCTIONS, violations
from tests.support.sql_files import EXPECTS, FILES, OWNED, PARAMETER, REQUESTS, STATEMENTS, SqlFile, for_each
from todo_service.database.migrations import NO_TRANSACTION

pytestmark = pytest.mark.database

VERBS = {
    *(
        "add",
        "check",
        "comment",
        "complete",
        "create",
        "delete",
        "drop",
        "export",
        "get",
        "index",
        "list",
        "record",
        "renew",
    ),
    *("set", "try", "update"),
}

SQL_NAMES = {"bool": "boolean", "int2": "smallint", "int4": "integer", "int8": "bigint"}
"""Types that the server names otherwise than we do."""

OWNER_CONJUNCT = re.compile(r"(\b\w+\.)?\b(user_id|id) = \$1(?!\d)")

SESSION_STATE = """
    SELECT 'setting ' || name || ' ' || setting FROM pg_settings
    UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
    UNION ALL SELECT 'advisory lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
    UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
    UNION ALL SELECT 'channel ' || channel FROM pg_listening_channels() AS channel
    UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE name <> ''
    UNION ALL SELECT 'role ' || current_user || ' ' || session_user
"""


@for_each(FILES)
def test_a_header_begins_with_the_name_of_the_file_and_sentences(file: SqlFile) -> None:
    name, *rest = file.header
    rest = [line for line in rest if line != NO_TRANSACTION]
    sentences = [line for line in rest if not PARAMETER.fullmatch(line) and not EXPECTS.fullmatch(line)]

    assert name == f"-- {file.name}"
    assert sentences
    assert rest[: len(sentences)] == sentences, "sentences come before parameters and indexes"
    assert re.match(r"-- [A-Z]", sentences[0])
    assert sentences[-1].endswith(".")


@for_each(FILES)
def test_a_name_begins_with_a_verb(file: SqlFile) -> None:
    words = re.findall(r"[a-z]+", file.name.removeprefix(file.folder))

    assert words[0] in VERBS


@for_each(STATEMENTS)
def test_a_header_names_each_parameter_once_and_in_order(file: SqlFile) -> None:
    used = {int(number) for number in re.findall(r"\$(\d+)", file.code)}

    assert [parameter.number for parameter in file.parameters] == sorted(used)
    assert sorted(used) == [*range(1, len(used) + 1)]


@for_each(OWNED.values())
def test_the_first_parameter_of_a_task_statement_is_its_user(file: SqlFile) -> None:
    assert file.header.count("-- $1 user_id text  the owner, from the token") == 1


@for_each(OWNED.values())
def test_a_header_ends_with_the_indexes_that_it_expects(file: SqlFile) -> None:
    assert [line for line in file.header if EXPECTS.fullmatch(line)] == file.header[-1:]


@for_each(STATEMENTS)
def test_a_file_is_one_statement_without_templating(file: SqlFile) -> None:
    assert len(parse_sql(file.text)) == 1
    assert file.text.endswith(";\n")
    assert not re.search(r"[{}]|%[s(]|(?<!:):[a-z]", re.sub("'[^']*'", "''", file.code))


@for_each(STATEMENTS)
async def test_the_parameter_types_are_those_that_the_server_infers(
    file: SqlFile, connection: asyncpg.Connection
) -> None:
    inferred = [type_.name for type_ in (await connection.prepare(file.text)).get_parameters()]

    assert [parameter.type for parameter in file.parameters] == [SQL_NAMES.get(name, name) for name in inferred]


@for_each(REQUESTS)
def test_the_outermost_query_can_only_give_one_row(file: SqlFile) -> None:
    [select] = [raw.stmt for raw in parse_sql(file.text)]

    assert isinstance(select, ast.SelectStmt)
    assert {slot for slot in select if getattr(select, slot)} <= {"withClause", "targetList", "limitOption", "op"}
    assert (select.op, select.limitOption) == (0, 0)
    assert not _parts_that_make_rows(select.targetList)


def _parts_that_make_rows(node: object) -> list[object]:
    """What may differ from row to row, or make rows, outside of subqueries: columns, and functions we don't know."""
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


@for_each(REQUESTS)
async def test_an_unknown_user_gets_one_row(file: SqlFile, connection: asyncpg.Connection) -> None:
    given = {"user_id": uuid4().hex} if file.parameters else {}
    transaction = connection.transaction()
    await transaction.start()

    rows = await connection.fetch(file.text, *file.arguments(**given))

    await transaction.rollback()
    assert len(rows) == 1


@for_each(REQUESTS)
async def test_monitoring_shows_the_name_of_the_file(
    file: SqlFile, connection: asyncpg.Connection, database_url: str
) -> None:
    given = {"user_id": uuid4().hex} if file.parameters else {}
    await connection.fetch(file.text, *file.arguments(**given))
    monitor = await asyncpg.connect(database_url)

    shown = await monitor.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", connection.get_server_pid())

    await monitor.close()
    assert shown.splitlines()[0] == f"-- {file.name}"


@for_each(REQUESTS)
def test_a_statement_stays_with_the_rows_of_its_user(file: SqlFile) -> None:
    assert violations(file.text) == []


@for_each(OWNED.values())
def test_a_statement_that_forgets_its_user_anywhere_is_found_out(file: SqlFile) -> None:
    forgetful = [_replace(file.code, match, "true") for match in OWNER_CONJUNCT.finditer(file.code)]
    mistaken = [_replace(file.code, match, "$2") for match in re.finditer(r"\$1(?!\d)", file.code)]

    assert mistaken
    assert [text for text in forgetful + mistaken if not violations(text)] == []


def _replace(text: str, match: re.Match[str], replacement: str) -> str:
    return text[: match.start()] + replacement + text[match.end() :]


async def test_no_statement_leaves_anything_in_its_session(connection: asyncpg.Connection) -> None:
    await connection.execute("LOAD 'plpgsql'")  # its first use shows its settings, as they always are
    before = Counter(row[0] for row in await connection.fetch(SESSION_STATE))
    user_id = uuid4().hex

    for file in REQUESTS:
        await connection.fetch(file.text, *file.arguments(**({"user_id": user_id} if file.parameters else {})))

    assert Counter(row[0] for row in await connection.fetch(SESSION_STATE)) == before
