"""task_json: the function that writes a task as JSON returns the same text with all session settings."""

import json
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.members import AT_LIMITS, CLEARED, CREATED, MEMBERS, NAMES
from tests.support.sql_files import USER_STATEMENTS

pytestmark = pytest.mark.database

FIRST = "0001-01-01T00:00:00.000000Z"
NOON = "2024-02-29T12:00:00.000001Z"
LAST = "9999-12-31T23:59:59.999999Z"

SPECIAL_TEXTS = [
    'a "quoted" \\ and a / and \\u0041',
    "".join(chr(n) for n in range(1, 32)),
    "\x7f\x80\x9f\xa0\xad\ufeff\uffff",
    "line\u2028paragraph\u2029",
    "👩‍👩‍👧‍👦 \U0010ffff 𝒳",
    "שלום \u202eabc\u202c مرحبا",
    "</script><!-- {{ $1 }} %s",
    "' || (SELECT 1) || '",
]

# Settings that change the text format of values.
SETTINGS = {
    "TimeZone": ["Asia/Kathmandu", "America/St_Johns", "<-15:59>+15:59"],
    "DateStyle": ["German, DMY", "SQL, MDY", "Postgres, YMD"],
    "IntervalStyle": ["sql_standard", "iso_8601"],
    "extra_float_digits": ["-15", "0"],
    "lc_time": ["C"],
    "bytea_output": ["escape"],
    "quote_all_identifiers": ["on"],
    "standard_conforming_strings": ["off"],
    "search_path": ["", "pg_catalog"],
    "timezone_abbreviations": ["India"],
}


def columns(**given: object) -> dict[str, object]:
    """The arguments of task_json."""
    return {
        "id": UUID("0f5c1f5e-0000-4000-8000-00000000abcd"),
        "user_id": "auth0|alice",
        "title": "Buy milk",
        "completed": False,
        "created_at": NOON,
        "updated_at": NOON,
        "revision": 1,
        "deleted_at": None,
        **CLEARED,
        **given,
    }


# Times are sent as text: asyncpg turns the first and the last datetime of Python into infinities.
TIMES = {member.name for member in MEMBERS if member.openapi_schema.get("format") == "date-time"} | {"deleted_at"}
ARGUMENTS = [
    f"{name} => ${n}::text::timestamptz" if name in TIMES else f"{name} => ${n}" for n, name in enumerate(columns(), 1)
]
TEXTS = [member.name for member in MEMBERS if member.is_free_text]
TASK_JSON = f"SELECT public.task_json({', '.join(ARGUMENTS)})"


async def read_json(connection: asyncpg.Connection, task: dict[str, object]) -> dict[str, Any]:
    """The task as a client reads it. Each member must occur once, in the right order."""
    members = json.loads(await connection.fetchval(TASK_JSON, *task.values()), object_pairs_hook=list)
    assert [name for name, _ in members] == NAMES
    return dict(members)


def expected(task: dict[str, object]) -> dict[str, object]:
    return {name: str(task[name]) if name == "id" else task[name] for name in NAMES}


Test = Callable[..., Coroutine[Any, Any, None]]


def special_texts(test: Test) -> Test:
    """Adds the special texts to the random ones."""
    for text in SPECIAL_TEXTS:
        test = example(text=text)(test)
    return test


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200))
@special_texts
async def test_any_text_is_written_unchanged(connection: asyncpg.Connection, text: str) -> None:
    task = columns(**dict.fromkeys(TEXTS, text))

    assert await read_json(connection, task) == expected(task)


@pytest.mark.parametrize("time", [FIRST, NOON, LAST], ids=["first", "noon", "last"])
async def test_times_are_written_in_utc_with_microseconds(time: str, connection: asyncpg.Connection) -> None:
    task = columns(due_date=time, created_at=time, updated_at=time)

    assert await read_json(connection, task) == expected(task)


@pytest.mark.parametrize(
    "given",
    [
        {"completed": True, "priority": "high", "revision": 2**63 - 1},
        {"completed": False, "priority": "low", "revision": 2**53 + 1},
        *({name: value} for name, value in AT_LIMITS if name not in TIMES),
        CREATED,
    ],
)
async def test_other_values_are_written_unchanged(given: dict[str, object], connection: asyncpg.Connection) -> None:
    task = columns(**given)

    assert await read_json(connection, task) == expected(task)


async def test_the_json_of_a_deleted_task_is_null(connection: asyncpg.Connection) -> None:
    assert await connection.fetchval(TASK_JSON, *columns(deleted_at=NOON).values()) is None


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values])
async def test_session_settings_do_not_change_the_json(name: str, value: str, connection: asyncpg.Connection) -> None:
    values = columns(title=SPECIAL_TEXTS[0], due_date=FIRST, created_at=NOON, updated_at=LAST, priority="high").values()
    before = await connection.fetchval(TASK_JSON, *values)

    await connection.execute("SELECT set_config($1, $2, false)", name, value)

    assert await connection.fetchval(TASK_JSON, *values) == before


async def test_task_json_is_immutable_and_parallel_safe(
    connection: asyncpg.Connection,
) -> None:
    row = await connection.fetchrow("SELECT provolatile, proparallel FROM pg_proc WHERE proname = 'task_json'")

    assert row is not None
    assert tuple(row) == (b"i", b"s")


async def test_a_stored_task_has_the_json_of_its_columns(connection: asyncpg.Connection) -> None:
    given = {
        **CREATED,
        "user_id": uuid4().hex,
        "title": SPECIAL_TEXTS[0],
        "description": SPECIAL_TEXTS[1],
        "due_date": FIRST,
    }
    create = USER_STATEMENTS["create_task"]

    [created] = await connection.fetch(create.text, *create.arguments(**given))

    [row] = await connection.fetch("SELECT * FROM tasks WHERE id = $1", created["id"])
    times = {name: f"{row[name]:%Y-%m-%dT%H:%M:%S.%fZ}" for name in ("created_at", "updated_at")}
    assert created["body"] == row["body"]
    assert json.loads(row["body"]) == expected({**row, **given, **times})
