"""maintenance/renew_generations.sql: after a restore, no generation or entity tag of lost data is valid again."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from tests.support.api import Api, call_with_header, path_of, problem_of, tag_of
from tests.support.idempotency import OTHER, assert_created, post
from todo_service.database.statements import read_statement

pytestmark = pytest.mark.database

RENEW = read_statement("maintenance/renew_generations").text

SAVED = uuid4()

SINCE_1970 = "SELECT (extract(EPOCH FROM statement_timestamp()) * 1000000)::bigint"


@pytest.fixture
async def transaction(connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose transaction is rolled back after the test: the statement changes all users."""
    opened = connection.transaction()
    await opened.start()
    yield connection
    await opened.rollback()


async def renewed(connection: asyncpg.Connection, user_id: str) -> asyncpg.Record:
    """Runs the statement. Returns the new generation and revision of the user."""
    await connection.execute(RENEW)
    row = await connection.fetchrow("SELECT generation, revision FROM users WHERE id = $1", user_id)
    assert row
    return row


@pytest.mark.parametrize("revision", [0, 7, 2**62])
async def test_each_user_gets_a_new_generation_and_a_higher_revision(
    transaction: asyncpg.Connection, revision: int
) -> None:
    user_id, generation = f"user-{uuid4()}", uuid4()
    await transaction.execute("INSERT INTO users VALUES ($1, $2, $3)", user_id, generation, revision)
    now = await transaction.fetchval(SINCE_1970)

    first, second = await renewed(transaction, user_id), await renewed(transaction, user_id)

    assert len({generation, first["generation"], second["generation"]}) == 3
    assert revision < first["revision"] < second["revision"]
    assert now < first["revision"], "the revisions of lost writes are lower, because they began at an earlier time"


async def test_restoring_a_backup_twice_gives_different_generations(transaction: asyncpg.Connection) -> None:
    generations = []
    for _ in range(2):
        await transaction.execute("INSERT INTO users VALUES ('restored', $1, 7)", SAVED)
        generations.append((await renewed(transaction, "restored"))["generation"])
        await transaction.execute("DELETE FROM users WHERE id = 'restored'")

    assert generations[0] != generations[1]


@pytest.mark.parametrize("saved", [False, True], ids=["user created after the backup", "user in the backup"])
async def test_an_idempotency_key_of_a_lost_task_creates_a_task_with_a_new_tag(
    owner: Api, connection: asyncpg.Connection, saved: bool
) -> None:
    if saved:
        await owner.create()
    backup = await connection.fetch(
        "SELECT id, generation, revision, created_at FROM users WHERE id = $1", owner.user_id
    )
    lost = await assert_created(await post(owner))
    tags = [f'"{lost["revision"]}"']
    for number in range(3):
        response = await owner.call("PATCH", path_of(lost), json={"description": str(number)})
        tags.append(response.headers["ETag"])
    seen = await tag_of(owner)

    await connection.execute("DELETE FROM users WHERE id = $1", owner.user_id)
    for row in backup:
        await connection.execute("INSERT INTO users VALUES ($1, $2, $3, $4)", *row)
    await connection.execute(RENEW)
    task = await assert_created(await post(owner, OTHER))

    assert task["id"] == lost["id"]
    assert (await call_with_header(owner, "GET", path_of(task), "If-None-Match", ", ".join(tags))).status == 200
    stale = await call_with_header(owner, "PATCH", path_of(task), "If-Match", ", ".join(tags), json={"title": "stale"})
    await problem_of(stale, 412, "precondition-failed")
    assert (await owner.call("GET", "/api/tasks", headers={"If-None-Match": f'"{seen}"'})).status == 200
