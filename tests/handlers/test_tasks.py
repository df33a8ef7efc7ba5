"""The endpoints of tasks as their owner calls them: create, get, list, update, complete and delete."""

import asyncio
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.support.api import JSON, TASKS, Api, path_of, problem_of, task_of
from tests.support.members import AT_LIMITS, CHANGED, CLEARED, CREATED, NAMES

pytestmark = pytest.mark.database

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

# Method, suffix of the path, and body of each request for one task.
TASK_REQUESTS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "", None),
    ("PUT", "", {"title": "Changed"}),
    ("PATCH", "", {"title": "Changed"}),
    ("PATCH", "/complete", None),
    ("PATCH", "/complete", {"completed": True}),
    ("DELETE", "", None),
]


def changed_members(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The names of the members that differ."""
    return {name for name in before if before[name] != after[name]}


# Create and get


async def test_a_new_user_gets_an_empty_array(owner: Api) -> None:
    response = await owner.call("GET", TASKS)
    assert response.status == 200
    assert response.content_type == "application/json"
    assert await response.read() == b"[]"


async def test_a_created_task_has_all_its_members(owner: Api) -> None:
    sent = {**CREATED, "title": "  Buy milk\n", "due_date": "2026-12-31T17:00:00.5+02:00"}
    response = await owner.call("POST", TASKS, json=sent)
    assert response.status == 201
    task = task_of(await response.json())
    assert response.headers["Location"] == f"tasks/{task['id']}"
    assert list(task) == NAMES
    stored = {**CREATED, "title": "Buy milk", "due_date": "2026-12-31T15:00:00.500000Z", "completed": False}
    assert {name: task[name] for name in stored} == stored
    assert task["user_id"] == owner.user_id
    assert UUID(task["id"]).version == 4
    assert task["created_at"] == task["updated_at"]
    assert TIME.fullmatch(task["created_at"])
    assert task["revision"] == 1
    assert await (await owner.call("GET", f"/api/{response.headers['Location']}")).json() == task
    assert await owner.tasks() == [task]


async def test_a_task_needs_only_a_title(owner: Api) -> None:
    task = await owner.create("x")
    assert {name: task[name] for name in CLEARED} == CLEARED


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
        ("2026-06-01t12:00:00z", "2026-06-01T12:00:00.000000Z"),
        ("2026-06-01T12:00:00.123456789+23:59", "2026-05-31T12:01:00.123456Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
async def test_due_dates_are_returned_in_utc(owner: Api, sent: str, stored: str) -> None:
    task = await owner.create(due_date=sent)
    assert task["due_date"] == stored
    assert await owner.get(task) == task


@pytest.mark.parametrize(("name", "value"), AT_LIMITS, ids=lambda value: str(value)[:20])
async def test_values_at_their_limits_are_returned_unchanged(owner: Api, name: str, value: Any) -> None:
    assert (await owner.create(**{name: value}))[name] == value


# Update


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    "changes",
    [
        *({name: value} for name, value in CHANGED.items()),
        *({name: None} for name in CLEARED),
        {**CHANGED, **CLEARED},
    ],
    ids=str,
)
async def test_an_update_changes_only_the_members_that_are_sent(
    owner: Api, method: str, changes: dict[str, Any]
) -> None:
    before = await owner.create(**CREATED)
    response = await owner.call(method, path_of(before), json=changes)
    assert response.status == 200
    after = task_of(await response.json())
    assert after == {**before, **changes, "updated_at": after["updated_at"], "revision": before["revision"] + 1}
    assert after["updated_at"] > before["updated_at"]
    assert await owner.get(before) == after


@pytest.mark.parametrize("changes", [{}, {"title": " Buy milk "}, {"due_date": "2026-12-31T01:00:00+01:00"}], ids=str)
async def test_an_update_without_a_change_keeps_updated_at_and_revision(owner: Api, changes: dict[str, Any]) -> None:
    task = await owner.create(due_date="2026-12-31T00:00:00Z")
    response = await owner.call("PATCH", path_of(task), json=changes)
    assert response.status == 200
    assert await response.json() == task
    assert (await owner.create())["revision"] == task["revision"] + 1


async def test_an_update_accepts_the_media_type_of_a_merge_patch(owner: Api) -> None:
    task = await owner.create()
    headers = {"Content-Type": "application/merge-patch+json; charset=UTF-8"}
    response = await owner.call("PATCH", path_of(task), data=b'{"title": "Patched"}', headers=headers)
    assert (await response.json())["title"] == "Patched"


# Complete


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", "application/x-www-form-urlencoded"])
async def test_completing_without_a_body_toggles_completed(owner: Api, content_type: str) -> None:
    task = await owner.create()
    headers = {"Content-Type": content_type} if content_type else {}
    for expected in (True, False, True):
        response = await owner.call("PATCH", f"{path_of(task)}/complete", headers=headers)
        assert response.status == 200
        after = task_of(await response.json())
        assert after["completed"] is expected
        assert changed_members(task, after) <= {"completed", "updated_at", "revision"}


async def test_completing_with_a_body_sets_completed(owner: Api) -> None:
    task = await owner.create()
    revisions = []
    for completed in (True, True, False, False):
        response = await owner.call("PATCH", f"{path_of(task)}/complete", json={"completed": completed})
        after = task_of(await response.json())
        assert after["completed"] is completed
        revisions.append(after["revision"])
    assert revisions == [2, 2, 3, 3]


async def test_concurrent_toggles_are_all_applied(owner: Api) -> None:
    task = await owner.create()
    await asyncio.gather(*(owner.call("PATCH", f"{path_of(task)}/complete") for _ in range(31)))
    after = await owner.get(task)
    assert after is not None
    assert (after["completed"], after["revision"]) == (True, task["revision"] + 31)


# Delete


async def test_a_deleted_task_gets_404_and_is_not_in_the_list(owner: Api) -> None:
    task, other = await owner.create("One"), await owner.create("Other")
    response = await owner.call("DELETE", path_of(task))
    assert (response.status, await response.read()) == (204, b"")
    assert "Content-Type" not in response.headers
    assert await owner.tasks() == [other]
    for method, path, body in TASK_REQUESTS:
        await problem_of(await owner.call(method, path_of(task) + path, json=body), 404, "task-not-found")


# Users and ids


async def test_the_revisions_of_each_user_are_counted_separately(owner: Api, stranger: Api) -> None:
    revisions = [(await api.create())["revision"] for api in (owner, owner, stranger, owner, stranger)]
    assert revisions == [1, 2, 1, 3, 2]


async def test_a_body_with_a_user_id_gets_400(owner: Api) -> None:
    response = await owner.call("POST", TASKS, json={"title": "x", "user_id": "another"})
    document = await problem_of(response, 400, "invalid-body")
    assert list(document["errors"]) == ["user_id"]


@pytest.mark.parametrize("user_id", ["é" * 255, "a'b\"c\\d", "%00", " ", "null"])
async def test_any_text_can_be_a_user_id(make_user: Callable[[str], Api], user_id: str) -> None:
    api = make_user(user_id)
    task = await api.create()
    assert task["user_id"] == user_id
    assert task in await api.tasks()


@pytest.mark.parametrize(
    "id_",
    [
        "0", "x", "%00", "..%2f", "00000000000000000000000000000000x", "é", "a" * 3000,
        # Python's UUID accepts these, RFC 9562 doesn't.
        "00000000000000000000000000000000", "urn:uuid:00000000-0000-0000-0000-000000000000",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path", "body"), TASK_REQUESTS)
async def test_a_malformed_id_gets_404(
    owner: Api, id_: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    response = await owner.call(method, f"{TASKS}/{id_}{path}", json=body)
    await problem_of(response, 404, "task-not-found")


# Headers


async def test_the_accept_header_is_ignored(owner: Api) -> None:
    response = await owner.call("GET", TASKS, headers={"Accept": "text/html"})
    assert response.content_type == "application/json"


async def test_responses_have_cache_control_and_vary(owner: Api) -> None:
    success, error = await owner.call("GET", TASKS), await owner.call("GET", f"{TASKS}?limit=0", headers=JSON)
    assert success.headers["Cache-Control"] == "private, no-cache"
    assert error.headers["Cache-Control"] == "no-store"
    assert success.headers["Vary"] == error.headers["Vary"] == "Authorization, Origin, Accept-Encoding"
