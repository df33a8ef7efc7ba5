"""What the schemas refuse, the database would not take either: its constraints hold the same limits."""

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

pytestmark = pytest.mark.database

INSERT = """
    INSERT INTO tasks (user_id, title, description, priority, due_date, revision)
    VALUES ($1, $2, $3, $4, $5::text::timestamptz, 1)
"""
TASK = {"title": "x", "description": None, "priority": None, "due_date": None}


async def insert(connection: asyncpg.Connection, **members: Any) -> None:
    """Puts a task past the service, of a new user."""
    user_id = uuid4().hex
    await connection.execute("INSERT INTO users (id, revision) VALUES ($1, 1)", user_id)
    await connection.execute(INSERT, user_id, *(TASK | members).values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", "😀" * 200),
        ("description", ""),
        ("description", "😀" * 1000),
        ("priority", "low"),
        ("priority", "high"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_is_within_the_limits_is_stored(connection: asyncpg.Connection, name: str, value: str) -> None:
    await insert(connection, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "constraint"),
    [
        ("title", "", "tasks_title_length_check"),
        ("title", "x" * 201, "tasks_title_length_check"),
        ("description", "x" * 1001, "tasks_description_length_check"),
        ("priority", "urgent", "tasks_priority_check"),
        ("due_date", "infinity", "tasks_due_date_finite_check"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_is_beyond_them_is_refused(
    connection: asyncpg.Connection, name: str, value: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await insert(connection, **{name: value})
    assert caught.value.constraint_name == constraint


@pytest.mark.parametrize("user_id", ["", "x" * 256])
async def test_a_user_has_an_id_that_a_token_can_have(connection: asyncpg.Connection, user_id: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO users (id, revision) VALUES ($1, 1)", user_id)


async def test_a_user_who_goes_takes_the_tasks_along(connection: asyncpg.Connection) -> None:
    user_id = uuid4().hex
    await connection.execute("INSERT INTO users (id, revision) VALUES ($1, 1)", user_id)
    await connection.execute(INSERT, user_id, *TASK.values())
    await connection.execute("DELETE FROM users WHERE id = $1", user_id)
    assert await connection.fetchval("SELECT count(*) FROM tasks WHERE user_id = $1", user_id) == 0
