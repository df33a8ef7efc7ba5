"""Creates: create_task_idempotent creates one task for each id, also when many requests run concurrently."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.support.members import CREATED
from tests.support.writers import (
    ROUNDS,
    WRITERS,
    Call,
    Row,
    create,
    revision_of,
    run_at_once,
    run_on_all_writers,
    run_statement,
    task_of,
    wait_until_all_blocked,
)

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("writes")]

ONE, OTHER = b"one payload", b"another payload"
KNOWN = pytest.mark.parametrize("known", [False, True], ids=["new user", "known user"])

# The writes that change a task before its creation is repeated.
CHANGES: dict[str, dict[str, object]] = {"update_task": {"title": "Changed"}, "complete_task": {}, "delete_task": {}}

CREATE: Call = ("create_task", {**CREATED})


@pytest.fixture
def task_id() -> UUID:
    """The id that the service derives from the user and the key."""
    return uuid4()


def once(task_id: UUID, fingerprint: bytes = ONE, **changed: object) -> Call:
    return "create_task_idempotent", {**CREATED, "id": task_id, "fingerprint": fingerprint, **changed}


async def create_once(connection: asyncpg.Connection, user_id: str, task_id: UUID) -> Row:
    name, given = once(task_id)
    return await run_statement(connection, name, user_id=user_id, **given)


def revision_in(row: Row) -> int:
    revision: int = task_of(row)["revision"]
    return revision


async def everything_of(connection: asyncpg.Connection, user_id: str) -> list[dict[str, Any]]:
    """All rows of a user in the tables users and tasks."""
    owner = await connection.fetch("SELECT * FROM users WHERE id = $1", user_id)
    tasks = await connection.fetch("SELECT * FROM tasks WHERE user_id = $1 ORDER BY id", user_id)
    return [dict(row) for row in [*owner, *tasks]]


async def tasks_of(connection: asyncpg.Connection, user_id: str) -> list[Row]:
    return await connection.fetch("SELECT * FROM tasks WHERE user_id = $1", user_id)


# Different tasks


@KNOWN
async def test_concurrent_creates_have_consecutive_revisions(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    before = (await create(connection, user_id))["revision"] if known else 0

    rows = await run_on_all_writers(connection, writers, "create_task", user_id, title="Buy milk")

    tasks = [task_of(row) for row in rows]
    assert {task["revision"] for task in tasks} == {before + n for n in range(1, WRITERS + 1)}
    assert len({task["id"] for task in tasks}) == WRITERS
    assert await revision_of(connection, user_id) == before + WRITERS


@KNOWN
async def test_concurrent_creates_with_different_ids_have_different_revisions(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    before = revision_in(await create_once(connection, user_id, uuid4())) if known else 0

    rows = await run_at_once(connection, writers, user_id, [once(uuid4()) for _ in writers])

    assert all(row["created"] for row in rows)
    revisions = sorted(revision_in(row) for row in rows)
    assert len(set(revisions)) == WRITERS
    assert not known or revisions == [before + n for n in range(1, WRITERS + 1)]
    assert await revision_of(connection, user_id) == revisions[-1]


async def test_two_users_can_use_the_same_id(connection: asyncpg.Connection, task_id: UUID) -> None:
    users = [uuid4().hex, uuid4().hex]

    rows = [await create_once(connection, user_id, task_id) for user_id in users * 2]

    assert [row["created"] for row in rows] == [True, True, False, False]
    assert [task_of(row)["user_id"] for row in rows] == users * 2
    assert [await revision_of(connection, user_id) for user_id in users] == [revision_in(row) for row in rows[:2]]


# The same task


@KNOWN
async def test_one_of_many_concurrent_creates_with_the_same_id_creates_the_task(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection]
) -> None:
    for _ in range(ROUNDS):
        user_id, task_id = uuid4().hex, uuid4()
        before = 0
        if known:
            await create(connection, user_id)
            before = revision_in(await create_once(connection, user_id, uuid4()))
        name, given = once(task_id)

        rows = await run_on_all_writers(connection, writers, name, user_id, **given)

        [stored] = [row for row in await tasks_of(connection, user_id) if row["id"] == task_id]
        assert Counter(row["created"] for row in rows) == {True: 1, False: WRITERS - 1}
        assert {row["body"] for row in rows} == {stored["body"]}
        assert all(row["same_payload"] for row in rows)
        assert not known or await revision_of(connection, user_id) == before + 1


@KNOWN
async def test_one_of_two_payloads_with_the_same_id_is_stored(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection]
) -> None:
    payloads = [("One", ONE), ("Other", OTHER)] * (WRITERS // 2)
    for _ in range(ROUNDS):
        user_id, task_id = uuid4().hex, uuid4()
        if known:
            await create(connection, user_id)
        random.shuffle(payloads)
        calls = [once(task_id, fingerprint, title=title) for title, fingerprint in payloads]

        rows = await run_at_once(connection, writers, user_id, calls)

        [stored] = [row for row in await tasks_of(connection, user_id) if row["id"] == task_id]
        [winner] = [payload for payload, row in zip(payloads, rows, strict=True) if row["created"]]
        assert (stored["title"], stored["fingerprint"]) == winner
        assert [row["same_payload"] for row in rows] == [payload == winner for payload in payloads]
        assert {row["body"] for row in rows} == {stored["body"]}


@pytest.mark.parametrize("succeeds", [False, True], ids=["rollback", "commit"])
@KNOWN
async def test_a_repetition_waits_for_the_end_of_the_first_transaction(
    succeeds: bool,
    known: bool,
    connection: asyncpg.Connection,
    writers: list[asyncpg.Connection],
    user_id: str,
    task_id: UUID,
) -> None:
    before = revision_in(await create_once(connection, user_id, uuid4())) if known else 0
    first = writers[0].transaction()
    await first.start()
    sent = await create_once(writers[0], user_id, task_id)
    repeating = asyncio.create_task(create_once(writers[1], user_id, task_id))
    await wait_until_all_blocked(connection, writers[1:2])

    await (first.commit() if succeeds else first.rollback())
    repeated = await repeating

    assert repeated["created"] is not succeeds
    assert (repeated["body"] == sent["body"]) is succeeds
    assert not known or revision_in(sent) == revision_in(repeated) == before + 1


async def test_a_create_sent_twice_in_one_transaction_creates_one_task(
    connection: asyncpg.Connection, user_id: str, task_id: UUID
) -> None:
    async with connection.transaction():
        rows = [await create_once(connection, user_id, task_id) for _ in range(2)]

    assert [row["created"] for row in rows] == [True, False]
    assert rows[0]["body"] == rows[1]["body"]
    assert await revision_of(connection, user_id) == revision_in(rows[0])


@pytest.mark.parametrize("change", [None, *CHANGES])
@pytest.mark.parametrize("fingerprint", [ONE, OTHER], ids=["same payload", "other payload"])
async def test_a_repetition_changes_nothing_after_any_write_to_the_task(
    fingerprint: bytes, change: str | None, connection: asyncpg.Connection, user_id: str, task_id: UUID
) -> None:
    await create_once(connection, user_id, task_id)
    if change:
        await run_statement(connection, change, user_id=user_id, id=task_id, **CHANGES[change])
    await create(connection, user_id)  # the last write must be to another task
    before = await everything_of(connection, user_id)
    name, given = once(task_id, fingerprint, title="Sent again")

    row = await run_statement(connection, name, user_id=user_id, **given)

    assert await everything_of(connection, user_id) == before
    [stored] = [task for task in before if task["id"] == task_id]
    assert (row["body"], row["created"]) == (stored["body"], False)
    assert bool(row["same_payload"]) is (fingerprint == ONE and change != "delete_task")
    assert (row["body"] is None) is (change == "delete_task")


# The user's revision


@pytest.mark.parametrize("revision", [1, 2**62], ids=["small", "large"])
async def test_the_first_idempotent_create_takes_a_revision_that_was_never_used(
    revision: int, connection: asyncpg.Connection, user_id: str
) -> None:
    """The revision is at least the user's creation time in microseconds.

    A deleted user with this id had lower revisions, because no user writes more than a million times a second.
    """
    began = await connection.fetchval(
        "INSERT INTO users (id, revision) VALUES ($1, $2) RETURNING created_at", user_id, revision
    )

    first, second = [revision_in(await create_once(connection, user_id, uuid4())) for _ in range(2)]

    assert first == max(revision + 1, (began - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    assert second == first + 1 == await revision_of(connection, user_id)


async def test_concurrent_first_creates_may_leave_a_gap_in_the_revisions(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str, task_id: UUID
) -> None:
    name, given = once(task_id)

    [first] = {revision_in(row) for row in await run_on_all_writers(connection, writers, name, user_id, **given)}

    # A statement must take a revision even if another one inserts the user first (ON CONFLICT DO UPDATE).
    last = await revision_of(connection, user_id)
    assert first <= last < first + 1_000_000, "the creates began within a second"
    assert (await create(connection, user_id))["revision"] == last + 1


# Concurrent deletions


async def test_a_concurrent_deletion_is_final(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection]
) -> None:
    for _ in range(ROUNDS):
        user_id, task_id = uuid4().hex, uuid4()
        task = await create_once(connection, user_id, task_id)
        calls = [once(task_id)] * (WRITERS - 4) + [("delete_task", {"id": task_id})] * 4
        random.shuffle(calls)

        rows = await run_at_once(connection, writers, user_id, calls)

        [tombstone] = await tasks_of(connection, user_id)
        creations = [row for row in rows if "created" in row]
        assert not any(row["created"] for row in creations)
        last = revision_in(task) + 1
        assert {row["body"] for row in creations} <= {task["body"], None}
        assert sum(row["deleted"] for row in rows if "deleted" in row) == 1
        assert (tombstone["deleted_at"] is None, tombstone["revision"]) == (False, last)
        assert await revision_of(connection, user_id) == last


@KNOWN
async def test_all_kinds_of_concurrent_writes_leave_consistent_data(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection]
) -> None:
    """All writes of a known user wait for the user's row. For a new user, the test only creates tasks."""
    for _ in range(ROUNDS):
        user_id, keys = uuid4().hex, [uuid4(), uuid4(), uuid4()]
        first = [await create_once(connection, user_id, keys[0])] if known else []
        calls: list[Call] = [once(key) for key in keys] * 8 + [CREATE] * 2
        if known:
            calls += [("delete_task", {"id": keys[0]}), ("delete_task", {"id": keys[1]}), ("delete_me", {})] * 2
        random.shuffle(calls)

        rows = await run_at_once(connection, writers, user_id, calls)

        results = [*zip(calls, rows, strict=True), *((once(keys[0]), row) for row in first)]
        deletions = sum(row["deleted"] for (name, _), row in results if name == "delete_me")
        for key in keys:
            of_key = [row for (name, given), row in results if name == "create_task_idempotent" and given["id"] == key]
            created = [row["body"] for row in of_key if row["created"]]
            assert 1 <= len(created) <= 1 + deletions
            assert {row["body"] for row in of_key} <= {*created, None}
            assert all(row["same_payload"] for row in of_key if row["body"])
        stored = await tasks_of(connection, user_id)
        bodies = [row["body"] for _, row in results if row.get("created") or "id" in row]
        assert {row["body"] for row in stored} <= {*bodies, None}
        assert len({row["revision"] for row in stored}) == len(stored)
        assert not stored or max(row["revision"] for row in stored) <= await revision_of(connection, user_id)
