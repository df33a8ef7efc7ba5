"""Constraints: the database has the same limits as the schemas of the API."""

import json
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.support.members import AT_LIMITS, CREATED, MEMBERS

pytestmark = pytest.mark.database

COLUMNS = ", ".join(CREATED)
INSERT = f"""
    INSERT INTO tasks (user_id, revision, {COLUMNS})
    SELECT $1, 1, {COLUMNS} FROM json_populate_record(NULL::tasks, $2::text::json)
"""


async def insert(connection: asyncpg.Connection, **members: Any) -> None:
    """Inserts a task of a new user, without the service."""
    user_id = uuid4().hex
    await connection.execute("INSERT INTO users (id, revision) VALUES ($1, 1)", user_id)
    await connection.execute(INSERT, user_id, json.dumps({"title": "x", **members}))


@pytest.mark.parametrize(("name", "value"), AT_LIMITS, ids=lambda value: str(value)[:20])
async def test_values_within_the_limits_are_stored(connection: asyncpg.Connection, name: str, value: str) -> None:
    await insert(connection, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "constraint"),
    [(member.name, value, member.constraint) for member in MEMBERS for value in member.violating],
    ids=lambda value: str(value)[:20],
)
async def test_values_beyond_the_limits_violate_a_constraint(
    connection: asyncpg.Connection, name: str, value: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await insert(connection, **{name: value})
    assert caught.value.constraint_name == constraint


@pytest.mark.parametrize("user_id", ["", "x" * 256])
async def test_a_user_id_has_1_to_255_characters(connection: asyncpg.Connection, user_id: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO users (id, revision) VALUES ($1, 1)", user_id)


async def test_deleting_a_user_deletes_the_tasks(connection: asyncpg.Connection) -> None:
    user_id = uuid4().hex
    await connection.execute("INSERT INTO users (id, revision) VALUES ($1, 1)", user_id)
    await connection.execute(INSERT, user_id, '{"title": "x"}')
    await connection.execute("DELETE FROM users WHERE id = $1", user_id)
    assert await connection.fetchval("SELECT count(*) FROM tasks WHERE user_id = $1", user_id) == 0
