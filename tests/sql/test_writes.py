"""What the write statements promise when many run at once: one winner, no lost revision, no stale answer."""

import asyncio
import json
from uuid import uuid4

import asyncpg
import pytest

from tests.support.members import CLEARED, CREATED
from tests.support.sql_files import OWNED
from tests.support.writers import (
    LOCK_TASKS,
    ROUNDS,
    WRITERS,
    applied,
    create,
    hold_up,
    race,
    revision_of,
    run,
    stored,
    task_of,
    until_all_wait,
)

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("writes")]  # 32 connections are enough for one server


# Writes to an existing task, which change it whatever it was.
WRITES: dict[str, dict[str, object]] = {
    "update_task": {"title": "Changed"},
    "complete_task": {"completed": None},
    "delete_task": {},
}


@pytest.mark.parametrize("name", WRITES)
async def test_one_of_many_writes_with_the_same_tag_wins(
    name: str, connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    for _ in range(ROUNDS):
        task = await create(connection, user_id)
        sent = task["revision"]

        rows = await race(connection, writers, name, user_id, id=task["id"], if_match=[str(sent)], **WRITES[name])

        losers = [row for row in rows if not applied(row)]
        assert len(losers) == WRITERS - 1
        assert {row["revision"] for row in losers} == {None if name == "delete_task" else sent + 1}
        assert (await stored(connection, task))["revision"] == sent + 1
        assert await revision_of(connection, user_id) == sent + 1


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_waits_for_its_user_before_it_locks_the_task(
    name: str, connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    task = await create(connection, user_id)
    gate = await hold_up(connection, user_id)
    running = asyncio.create_task(run(writers[0], name, user_id=user_id, id=task["id"], **WRITES[name]))
    await until_all_wait(connection, writers[:1])

    locked = await connection.fetch(LOCK_TASKS, user_id)

    await gate.rollback()
    assert len(locked) == 1
    assert applied(await running)


async def test_the_winner_gets_the_task_as_it_is_stored(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    task = await create(connection, user_id)

    rows = await race(
        connection, writers, "update_task", user_id, id=task["id"], if_match=[str(task["revision"])], title="Changed"
    )

    assert [row["body"] for row in rows if row["body"]] == [(await stored(connection, task))["body"]]


async def test_writes_without_a_tag_are_all_applied_one_after_the_other(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    task = await create(connection, user_id)

    rows = await race(connection, writers, "complete_task", user_id, id=task["id"])

    answers = sorted((task_of(row) for row in rows), key=lambda answer: answer["revision"])
    assert [answer["revision"] for answer in answers] == [task["revision"] + n for n in range(1, WRITERS + 1)]
    assert [answer["completed"] for answer in answers] == [True, False] * (WRITERS // 2)


@pytest.mark.parametrize("known", [False, True], ids=["of a new user", "of a known user"])
async def test_creates_at_once_have_different_revisions(
    known: bool, connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    before = (await create(connection, user_id))["revision"] if known else 0

    rows = await race(connection, writers, "create_task", user_id, title="Buy milk")

    tasks = [task_of(row) for row in rows]
    assert {task["revision"] for task in tasks} == {before + n for n in range(1, WRITERS + 1)}
    assert len({task["id"] for task in tasks}) == WRITERS
    assert await revision_of(connection, user_id) == before + WRITERS


@pytest.mark.parametrize("if_match", [None, ["1"]], ids=["without a tag", "with the tag"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("update_task", {}),
        ("update_task", {"title": CREATED["title"], "completed": False}),
        *(("update_task", {f"sets_{name}": True, name: CREATED[name]}) for name in CLEARED),
        ("update_task", {"sets_due_date": True, "due_date": "2030-01-01T05:45:00+05:45"}),
        ("complete_task", {"completed": False}),
    ],
)
async def test_a_write_that_changes_nothing_moves_nothing(
    name: str, values: dict[str, object], if_match: list[str] | None, connection: asyncpg.Connection, user_id: str
) -> None:
    task = await create(connection, user_id)
    before = await stored(connection, task)

    row = await run(connection, name, user_id=user_id, id=task["id"], if_match=if_match, **values)

    assert task_of(row) == task
    assert await stored(connection, task) == before
    assert await revision_of(connection, user_id) == task["revision"] == 1


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_with_another_tag_changes_nothing_and_names_the_current_one(
    name: str, connection: asyncpg.Connection, user_id: str
) -> None:
    task = await create(connection, user_id)
    before = await stored(connection, task)

    row = await run(connection, name, user_id=user_id, id=task["id"], if_match=["7"], **WRITES[name])

    assert not applied(row)
    assert row["revision"] == task["revision"]
    assert await stored(connection, task) == before
    assert await revision_of(connection, user_id) == task["revision"]


@pytest.mark.parametrize("name", WRITES)
async def test_the_revision_that_counts_is_that_of_the_task_not_of_its_user(
    name: str, connection: asyncpg.Connection, user_id: str
) -> None:
    task, later = await create(connection, user_id), await create(connection, user_id)

    refused, made = [
        await run(connection, name, user_id=user_id, id=task["id"], if_match=[str(revision)], **WRITES[name])
        for revision in (later["revision"], task["revision"])
    ]

    assert (applied(refused), applied(made)) == (False, True)
    assert refused["revision"] == task["revision"]


@pytest.mark.parametrize(("name", "values"), [("update_task", {}), ("complete_task", {"completed": False})])
async def test_a_task_that_stays_as_it_is_comes_with_its_own_revision(
    name: str, values: dict[str, object], connection: asyncpg.Connection, user_id: str
) -> None:
    task, _ = await create(connection, user_id), await create(connection, user_id)

    row = await run(connection, name, user_id=user_id, id=task["id"], **values)

    assert (task_of(row), row["revision"]) == (task, task["revision"])


@pytest.mark.parametrize("if_match", [None, ["1"]], ids=["without a tag", "with the tag"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_stranger_changes_nothing_and_learns_nothing(
    name: str, if_match: list[str] | None, connection: asyncpg.Connection, user_id: str
) -> None:
    task = await create(connection, user_id)
    stranger = (await create(connection, uuid4().hex))["user_id"]
    before = await stored(connection, task)

    row = await run(connection, name, user_id=stranger, id=task["id"], if_match=if_match, **WRITES[name])

    assert not applied(row)
    assert row["revision"] is None
    assert await stored(connection, task) == before
    assert (await revision_of(connection, user_id), await revision_of(connection, stranger)) == (1, 1)


@pytest.mark.parametrize(
    "if_match", [None, ["1"], ["2"]], ids=["without a tag", "with its old tag", "with its last tag"]
)
@pytest.mark.parametrize("name", WRITES)
async def test_a_tombstone_is_blank_and_no_later_write_touches_it(
    name: str, if_match: list[str] | None, connection: asyncpg.Connection, user_id: str
) -> None:
    task = await create(connection, user_id)
    await connection.execute("UPDATE tasks SET completed = true, fingerprint = 'x' WHERE user_id = $1", user_id)
    content = await stored(connection, task)
    assert [column for column in content if content[column] is None] == ["deleted_at"], "CREATED has every field"
    await run(connection, "delete_task", user_id=user_id, id=task["id"])
    tombstone = await stored(connection, task)

    row = await run(connection, name, user_id=user_id, id=task["id"], if_match=if_match, **WRITES[name])

    assert not applied(row)
    assert row["revision"] is None
    assert await stored(connection, task) == tombstone
    assert await revision_of(connection, user_id) == tombstone["revision"] == 2
    assert tombstone["deleted_at"] == tombstone["updated_at"]
    kept = {"user_id", "id", "created_at", "updated_at", "revision", "deleted_at"}
    blank = {"title": "", "completed": False}
    assert all(tombstone[column] == blank.get(column) for column in tombstone.keys() - kept)


async def test_a_deleted_task_is_in_no_answer(connection: asyncpg.Connection, user_id: str) -> None:
    kept, deleted = await create(connection, user_id), await create(connection, user_id)
    await run(connection, "delete_task", user_id=user_id, id=deleted["id"])

    lists = [
        await run(connection, name, user_id=user_id, page_size=9) for name in OWNED if name.startswith("list_tasks")
    ]

    assert lists
    assert all(json.loads(row["body"]) == [kept] for row in lists)
    assert (await run(connection, "get_task", user_id=user_id, id=deleted["id"]))["task"] is None
