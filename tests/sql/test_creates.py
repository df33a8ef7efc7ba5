"""create_task_idempotent, when many requests have the same key: one task is created, and each gets a good answer."""

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
    LOCK_TASKS,
    ROUNDS,
    WRITERS,
    Row,
    create,
    hold_up,
    race,
    revision_of,
    run,
    task_of,
    until_all_wait,
)

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("writes")]

ONE, OTHER = b"one payload", b"another payload"
KNOWN = pytest.mark.parametrize("known", [False, True], ids=["of a new user", "of a known user"])

# What may become of a task before its creation is repeated.
CHANGES: dict[str, dict[str, object]] = {
    "update_task": {"title": "Changed"},
    "complete_task": {},
    "delete_task": {},
}

Call = tuple[str, dict[str, object]]

CREATE: Call = ("create_task", {**CREATED})


@pytest.fixture
def user_id() -> str:
    return uuid4().hex


@pytest.fixture
def task_id() -> UUID:
    """What the user's key was made into."""
    return uuid4()


def once(task_id: UUID, fingerprint: bytes = ONE, **changed: object) -> Call:
    return "create_task_idempotent", {**CREATED, "id": task_id, "fingerprint": fingerprint, **changed}


async def create_once(connection: asyncpg.Connection, user_id: str, task_id: UUID) -> Row:
    name, given = once(task_id)
    return await run(connection, name, user_id=user_id, **given)


def revision_in(row: Row) -> int:
    revision: int = task_of(row)["revision"]
    return revision


async def run_at_once(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str, calls: list[Call]
) -> list[Row]:
    """Runs a call on each writer: none can go on before all of them wait for the user's row."""
    writers = writers[: len(calls)]
    gate = await hold_up(connection, user_id)
    running = asyncio.gather(
        *(run(writer, name, user_id=user_id, **given) for writer, (name, given) in zip(writers, calls, strict=True))
    )
    await until_all_wait(connection, writers)
    await gate.rollback()
    return await running


async def everything_of(connection: asyncpg.Connection, user_id: str) -> list[dict[str, Any]]:
    """All that is stored of a user: their row, and the row of each task."""
    owner = await connection.fetch("SELECT * FROM users WHERE id = $1", user_id)
    tasks = await connection.fetch("SELECT * FROM tasks WHERE user_id = $1 ORDER BY id", user_id)
    return [dict(row) for row in [*owner, *tasks]]


async def tasks_of(connection: asyncpg.Connection, user_id: str) -> list[Row]:
    return await connection.fetch("SELECT * FROM tasks WHERE user_id = $1", user_id)


@KNOWN
async def test_one_of_many_with_the_same_id_creates_and_all_get_the_task(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection]
) -> None:
    for _ in range(ROUNDS):
        user_id, task_id = uuid4().hex, uuid4()
        if known:
            await create(connection, user_id)
        name, given = once(task_id)

        rows = await race(connection, writers, name, user_id, **given)

        [stored] = [row for row in await tasks_of(connection, user_id) if row["id"] == task_id]
        assert Counter(row["created"] for row in rows) == {True: 1, False: WRITERS - 1}
        assert {row["body"] for row in rows} == {stored["body"]}
        assert all(row["same_payload"] for row in rows)


async def test_many_with_the_same_id_count_as_one_write(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str, task_id: UUID
) -> None:
    before = revision_in(await create_once(connection, user_id, uuid4()))
    name, given = once(task_id)

    await race(connection, writers, name, user_id, **given)

    assert await revision_of(connection, user_id) == before + 1


@pytest.mark.parametrize("revision", [1, 2**62], ids=["a small one", "a large one"])
async def test_the_first_id_takes_a_revision_that_no_former_life_of_the_user_had(
    revision: int, connection: asyncpg.Connection, user_id: str
) -> None:
    """Those began earlier, and had less than a million writes a second."""
    began = await connection.fetchval(
        "INSERT INTO users (id, revision) VALUES ($1, $2) RETURNING created_at", user_id, revision
    )

    first, second = [revision_in(await create_once(connection, user_id, uuid4())) for _ in range(2)]

    assert first == max(revision + 1, (began - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    assert second == first + 1 == await revision_of(connection, user_id)


async def test_many_with_the_first_id_of_a_new_user_may_leave_gaps_but_the_next_write_counts(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str, task_id: UUID
) -> None:
    name, given = once(task_id)

    [first] = {revision_in(row) for row in await race(connection, writers, name, user_id, **given)}

    # Whoever waits for the row of a user to be inserted must take a revision to see it (ON CONFLICT DO UPDATE).
    last = await revision_of(connection, user_id)
    assert first <= last < first + 1_000_000, "a second at most between those who began at once"
    assert (await create(connection, user_id))["revision"] == last + 1


@KNOWN
async def test_of_two_payloads_with_the_same_id_one_wins(
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


@KNOWN
async def test_different_ids_at_once_have_different_revisions(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    before = revision_in(await create_once(connection, user_id, uuid4())) if known else 0

    rows = await run_at_once(connection, writers, user_id, [once(uuid4()) for _ in writers])

    assert all(row["created"] for row in rows)
    revisions = sorted(revision_in(row) for row in rows)
    assert len(set(revisions)) == WRITERS
    assert not known or revisions == [before + n for n in range(1, WRITERS + 1)]
    assert await revision_of(connection, user_id) == revisions[-1]


@pytest.mark.parametrize("succeeds", [False, True], ids=["rolled back", "committed"])
@KNOWN
async def test_a_repetition_waits_for_what_becomes_of_the_first(
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
    await until_all_wait(connection, writers[1:2])

    await (first.commit() if succeeds else first.rollback())
    repeated = await repeating

    assert repeated["created"] is not succeeds
    assert (repeated["body"] == sent["body"]) is succeeds
    assert not known or revision_in(sent) == revision_in(repeated) == before + 1


async def test_a_creation_waits_for_its_user_before_it_locks_the_task(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str, task_id: UUID
) -> None:
    created = await create_once(connection, user_id, task_id)
    gate = await hold_up(connection, user_id)
    running = asyncio.create_task(create_once(writers[0], user_id, task_id))
    await until_all_wait(connection, writers[:1])

    locked = await connection.fetch(LOCK_TASKS, user_id)

    await gate.rollback()
    assert len(locked) == 1
    assert (await running)["body"] == created["body"]


@pytest.mark.parametrize("change", [None, *CHANGES])
@pytest.mark.parametrize("fingerprint", [ONE, OTHER], ids=["the same payload", "another payload"])
async def test_a_repetition_moves_nothing_whatever_became_of_the_task(
    fingerprint: bytes, change: str | None, connection: asyncpg.Connection, user_id: str, task_id: UUID
) -> None:
    await create_once(connection, user_id, task_id)
    if change:
        await run(connection, change, user_id=user_id, id=task_id, **CHANGES[change])
    await create(connection, user_id)  # the task is not the last that was written
    before = await everything_of(connection, user_id)
    name, given = once(task_id, fingerprint, title="Sent again")

    row = await run(connection, name, user_id=user_id, **given)

    assert await everything_of(connection, user_id) == before
    [stored] = [task for task in before if task["id"] == task_id]
    assert (row["body"], row["created"]) == (stored["body"], False)
    assert bool(row["same_payload"]) is (fingerprint == ONE and change != "delete_task")
    assert (row["body"] is None) is (change == "delete_task")


async def test_a_creation_that_is_sent_twice_in_one_transaction_creates_once(
    connection: asyncpg.Connection, user_id: str, task_id: UUID
) -> None:
    async with connection.transaction():
        rows = [await create_once(connection, user_id, task_id) for _ in range(2)]

    assert [row["created"] for row in rows] == [True, False]
    assert rows[0]["body"] == rows[1]["body"]
    assert await revision_of(connection, user_id) == revision_in(rows[0])


async def test_the_same_id_of_two_users_is_two_tasks(connection: asyncpg.Connection, task_id: UUID) -> None:
    users = [uuid4().hex, uuid4().hex]

    rows = [await create_once(connection, user_id, task_id) for user_id in users * 2]

    assert [row["created"] for row in rows] == [True, True, False, False]
    assert [task_of(row)["user_id"] for row in rows] == users * 2
    assert [await revision_of(connection, user_id) for user_id in users] == [revision_in(row) for row in rows[:2]]


async def test_a_deletion_in_between_is_final(
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
async def test_every_write_at_once_leaves_no_contradiction(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection]
) -> None:
    """Of a known user all wait for each other; of a new one only creations do: there is nothing to delete yet."""
    for _ in range(ROUNDS):
        user_id, keys = uuid4().hex, [uuid4(), uuid4(), uuid4()]
        first = [await create_once(connection, user_id, keys[0])] if known else []
        calls: list[Call] = [once(key) for key in keys] * 8 + [CREATE] * 2
        if known:
            calls += [("delete_task", {"id": keys[0]}), ("delete_task", {"id": keys[1]}), ("delete_me", {})] * 2
        random.shuffle(calls)

        rows = await run_at_once(connection, writers, user_id, calls)

        answers = [*zip(calls, rows, strict=True), *((once(keys[0]), row) for row in first)]
        lives = 1 + sum(row["deleted"] for (name, _), row in answers if name == "delete_me")
        for key in keys:
            of_key = [row for (name, given), row in answers if name == "create_task_idempotent" and given["id"] == key]
            created = [row["body"] for row in of_key if row["created"]]
            assert 1 <= len(created) <= lives
            assert {row["body"] for row in of_key} <= {*created, None}
            assert all(row["same_payload"] for row in of_key if row["body"])
        stored = await tasks_of(connection, user_id)
        bodies = [row["body"] for _, row in answers if row.get("created") or "id" in row]
        assert {row["body"] for row in stored} <= {*bodies, None}
        assert len({row["revision"] for row in stored}) == len(stored)
        assert not stored or max(row["revision"] for row in stored) <= await revision_of(connection, user_id)
