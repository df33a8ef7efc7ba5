"""Writes: update_task, complete_task and delete_task compare revisions, also when they run concurrently."""

import asyncio
import json
from uuid import uuid4

import asyncpg
import pytest

from tests.support.members import CLEARED, CREATED
from tests.support.sql_files import USER_STATEMENTS
from tests.support.writers import (
    LOCK_TASKS,
    ROUNDS,
    WRITERS,
    Call,
    block_writes,
    create,
    read_task_row,
    revision_of,
    run_at_once,
    run_on_all_writers,
    run_statement,
    task_of,
    wait_until_all_blocked,
    was_applied,
)

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("writes")]  # only one process at a time uses 32 connections

# Each of these statements changes an existing task in any state.
WRITES: dict[str, dict[str, object]] = {
    "update_task": {"title": "Changed"},
    "complete_task": {"completed": None},
    "delete_task": {},
}


# Concurrent writes


@pytest.mark.parametrize("name", WRITES)
async def test_one_of_many_concurrent_writes_with_the_same_revision_is_applied(
    name: str, connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    for _ in range(ROUNDS):
        task = await create(connection, user_id)
        sent = task["revision"]

        rows = await run_on_all_writers(
            connection, writers, name, user_id, id=task["id"], if_match=[str(sent)], **WRITES[name]
        )

        [winner] = [row for row in rows if was_applied(row)]
        losers = [row for row in rows if not was_applied(row)]
        written = await read_task_row(connection, task)
        assert winner.get("body") == written["body"]
        assert written["revision"] == sent + 1
        assert {row["revision"] for row in losers} == {None if name == "delete_task" else sent + 1}
        assert await revision_of(connection, user_id) == sent + 1


async def test_concurrent_writes_without_if_match_are_all_applied_in_turn(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    task = await create(connection, user_id)

    rows = await run_on_all_writers(connection, writers, "complete_task", user_id, id=task["id"])

    tasks = sorted((task_of(row) for row in rows), key=lambda each: each["revision"])
    assert [each["revision"] for each in tasks] == [task["revision"] + n for n in range(1, WRITERS + 1)]
    assert [each["completed"] for each in tasks] == [True, False] * (WRITERS // 2)


@pytest.mark.parametrize(("name", "values"), [*WRITES.items(), ("create_task_idempotent", CREATED)])
async def test_a_write_locks_the_user_before_the_task(
    name: str,
    values: dict[str, object],
    connection: asyncpg.Connection,
    writers: list[asyncpg.Connection],
    user_id: str,
) -> None:
    task = await create(connection, user_id)
    blocker = await block_writes(connection, user_id)
    running = asyncio.create_task(run_statement(writers[0], name, user_id=user_id, id=task["id"], **values))
    await wait_until_all_blocked(connection, writers[:1])

    locked = await connection.fetch(LOCK_TASKS, user_id)

    await blocker.rollback()
    assert len(locked) == 1
    assert was_applied(await running)


# Revisions


@pytest.mark.parametrize("if_match", ["2", "7"], ids=["the user's revision", "another revision"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_with_a_different_revision_changes_nothing(
    name: str, if_match: str, connection: asyncpg.Connection, user_id: str
) -> None:
    task, later = await create(connection, user_id), await create(connection, user_id)
    assert (task["revision"], later["revision"]) == (1, 2)
    before = await read_task_row(connection, task)

    row = await run_statement(connection, name, user_id=user_id, id=task["id"], if_match=[if_match], **WRITES[name])

    assert not was_applied(row)
    assert row["revision"] == task["revision"]
    assert await read_task_row(connection, task) == before
    assert await revision_of(connection, user_id) == later["revision"]


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_with_the_current_revision_is_applied(
    name: str, connection: asyncpg.Connection, user_id: str
) -> None:
    task, _ = await create(connection, user_id), await create(connection, user_id)

    row = await run_statement(
        connection, name, user_id=user_id, id=task["id"], if_match=[str(task["revision"])], **WRITES[name]
    )

    assert was_applied(row)
    assert await revision_of(connection, user_id) == 3


@pytest.mark.parametrize("if_match", [None, ["1"]], ids=["without if_match", "with if_match"])
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
async def test_a_write_without_a_change_keeps_the_revision(
    name: str, values: dict[str, object], if_match: list[str] | None, connection: asyncpg.Connection, user_id: str
) -> None:
    task, later = await create(connection, user_id), await create(connection, user_id)
    before = await read_task_row(connection, task)

    row = await run_statement(connection, name, user_id=user_id, id=task["id"], if_match=if_match, **values)

    assert task_of(row) == task
    assert row["revision"] == task["revision"] == 1
    assert await read_task_row(connection, task) == before
    assert await revision_of(connection, user_id) == later["revision"]


# Members that never change

EXPECTED = {"expected_id": uuid4(), "expected_user_id": "another", "expected_created_at": "2020-01-01T00:00:00Z"}


@pytest.mark.parametrize("if_match", [None, ["1"], ["7"]], ids=["without if_match", "with if_match", "with another"])
@pytest.mark.parametrize("name", EXPECTED)
async def test_an_update_for_a_task_with_another_member_changes_nothing_and_names_the_member(
    name: str, if_match: list[str] | None, connection: asyncpg.Connection, user_id: str
) -> None:
    task = await create(connection, user_id)
    before = await read_task_row(connection, task)
    given = {name: EXPECTED[name], "id": task["id"], "if_match": if_match, "title": "Changed"}

    row = await run_statement(connection, "update_task", user_id=user_id, **given)

    assert not was_applied(row)
    assert (row["revision"], row["mismatches"]) == (1, [name.removeprefix("expected_")])
    assert await read_task_row(connection, task) == before
    assert await revision_of(connection, user_id) == 1


async def test_members_and_the_revision_are_compared_after_the_lock(
    connection: asyncpg.Connection, writers: list[asyncpg.Connection], user_id: str
) -> None:
    """One of many concurrent updates with the whole task is applied. Those with another member never are."""
    task = await create(connection, user_id)
    whole = {"expected_id": task["id"], "expected_user_id": user_id, "expected_created_at": task["created_at"]}
    update = {"id": task["id"], "if_match": ["1"], "title": "Changed", **whole}
    calls: list[Call] = [("update_task", update | ({"expected_id": uuid4()} if n % 2 else {})) for n in range(WRITERS)]

    rows = await run_at_once(connection, writers, user_id, calls)

    assert {tuple(row["mismatches"]) for row in rows[1::2]} == {("id",)}
    assert {tuple(row["mismatches"]) for row in rows[::2]} == {()}
    assert [was_applied(row) for row in rows[1::2]] == [False] * (WRITERS // 2)
    assert sum(was_applied(row) for row in rows) == 1
    assert await revision_of(connection, user_id) == 2


async def test_an_update_without_a_task_names_no_member(connection: asyncpg.Connection, user_id: str) -> None:
    stranger = (await create(connection, uuid4().hex))["user_id"]
    task = await create(connection, user_id)

    row = await run_statement(connection, "update_task", user_id=stranger, id=task["id"], **EXPECTED)

    assert (row["body"], row["revision"], row["mismatches"]) == (None, None, None)


# Tasks that can't be written


@pytest.mark.parametrize("if_match", [None, ["1"]], ids=["without if_match", "with if_match"])
@pytest.mark.parametrize("name", WRITES)
async def test_another_users_write_changes_nothing_and_returns_nothing(
    name: str, if_match: list[str] | None, connection: asyncpg.Connection, user_id: str
) -> None:
    task = await create(connection, user_id)
    stranger = (await create(connection, uuid4().hex))["user_id"]
    before = await read_task_row(connection, task)

    row = await run_statement(connection, name, user_id=stranger, id=task["id"], if_match=if_match, **WRITES[name])

    assert not was_applied(row)
    assert row["revision"] is None
    assert await read_task_row(connection, task) == before
    assert (await revision_of(connection, user_id), await revision_of(connection, stranger)) == (1, 1)


@pytest.mark.parametrize(
    "if_match", [None, ["1"], ["2"]], ids=["without if_match", "with an old revision", "with the last revision"]
)
@pytest.mark.parametrize("name", WRITES)
async def test_a_tombstone_is_blank_and_later_writes_do_not_change_it(
    name: str, if_match: list[str] | None, connection: asyncpg.Connection, user_id: str
) -> None:
    task = await create(connection, user_id)
    await connection.execute("UPDATE tasks SET completed = true, fingerprint = 'x' WHERE user_id = $1", user_id)
    content = await read_task_row(connection, task)
    assert [column for column in content if content[column] is None] == ["deleted_at"], "CREATED sets every field"
    await run_statement(connection, "delete_task", user_id=user_id, id=task["id"])
    tombstone = await read_task_row(connection, task)

    row = await run_statement(connection, name, user_id=user_id, id=task["id"], if_match=if_match, **WRITES[name])

    assert not was_applied(row)
    assert row["revision"] is None
    assert await read_task_row(connection, task) == tombstone
    assert await revision_of(connection, user_id) == tombstone["revision"] == 2
    assert tombstone["deleted_at"] == tombstone["updated_at"]
    kept = {"user_id", "id", "created_at", "updated_at", "revision", "deleted_at"}
    blank = {"title": "", "completed": False}
    assert all(tombstone[column] == blank.get(column) for column in tombstone.keys() - kept)


async def test_reads_do_not_return_deleted_tasks(connection: asyncpg.Connection, user_id: str) -> None:
    kept, deleted = await create(connection, user_id), await create(connection, user_id)
    await run_statement(connection, "delete_task", user_id=user_id, id=deleted["id"])

    lists = [
        await run_statement(connection, name, user_id=user_id, page_size=9)
        for name in USER_STATEMENTS
        if name.startswith("list_tasks")
    ]

    assert lists
    assert all(json.loads(row["body"]) == [kept] for row in lists)
    assert (await run_statement(connection, "get_task", user_id=user_id, id=deleted["id"]))["task"] is None
