"""Read-only members in PATCH and PUT: clients can send a whole task back, as the service returned it."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.api import TASKS, UNKNOWN_ID, Api, path_of, problem_of, task_of
from tests.support.members import CHANGED, CREATED, EQUAL

pytestmark = [pytest.mark.database, pytest.mark.parametrize("method", ["PUT", "PATCH"])]

OTHER = {"id": UNKNOWN_ID, "user_id": "another", "created_at": "2020-01-01T00:00:00Z"}
"""Well-formed values that no task of these tests has."""


async def test_a_whole_task_can_be_sent_back(owner: Api, method: str) -> None:
    task = await owner.create(**CREATED)

    same = await owner.call(method, path_of(task), json=task)
    changed = await owner.call(method, path_of(task), json={**task, **CHANGED})

    assert (same.status, await same.json()) == (200, task)
    after = task_of(await changed.json())
    assert after == {**task, **CHANGED, "updated_at": after["updated_at"], "revision": task["revision"] + 1}
    assert await owner.get(task) == after


async def test_a_request_with_an_old_copy_can_be_repeated(owner: Api, method: str) -> None:
    task = await owner.create()
    first = await owner.call(method, path_of(task), json={**task, "title": "Changed"})
    again = await owner.call(method, path_of(task), json={**task, "title": "Changed"})
    assert (first.status, again.status) == (200, 200)
    assert await first.json() == await again.json()


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("id", str.upper),
        ("created_at", str.lower),
        ("created_at", lambda time: time.replace("Z", "000Z")),
        ("created_at", lambda time: time.replace("Z", "-00:00")),
        (
            "created_at",
            lambda time: (
                datetime.fromisoformat(time).astimezone(timezone(timedelta(hours=-3, minutes=-30))).isoformat()
            ),
        ),
    ],
    ids=["upper case", "lower case", "more digits", "no offset", "another offset"],
)
async def test_another_form_of_the_same_value_is_accepted(
    owner: Api, method: str, name: str, sent: Callable[[str], str]
) -> None:
    task = await owner.create()
    response = await owner.call(method, path_of(task), json={name: sent(task[name])})
    assert (response.status, await response.json()) == (200, task)


@pytest.mark.parametrize(
    "value", [None, 0, "x", "a\0b", [], {"a": [None]}, True, 1e300, "2020-01-01T00:00:00Z"], ids=str
)
async def test_updated_at_and_revision_are_ignored(owner: Api, method: str, value: Any) -> None:
    task = await owner.create()
    response = await owner.call(method, path_of(task), json={"updated_at": value, "revision": value})
    assert (response.status, await response.json()) == (200, task)


@pytest.mark.parametrize("name", sorted(EQUAL))
async def test_a_member_that_differs_is_named_and_nothing_is_changed(owner: Api, method: str, name: str) -> None:
    task, other = await owner.create(), await owner.create()
    for value in (OTHER[name], other[name] if name != "user_id" else f"{owner.user_id} "):
        for headers in ({}, {"If-Match": '"7"'}, {"If-Match": f'"{task["revision"]}"'}):
            body = {**task, "title": "Changed", name: value}
            document = await problem_of(
                await owner.call(method, path_of(task), json=body, headers=headers), 400, "invalid-body"
            )
            assert document["errors"] == {name: ["Must not change: leave it out, or send it unchanged."]}
            assert document["detail"] == f"{name} must not change: leave it out, or send it unchanged."
    assert await owner.tasks() == [other, task]


async def test_a_time_without_its_microseconds_differs(owner: Api, method: str) -> None:
    task = await owner.create()
    microsecond = timedelta(microseconds=1)
    for time in (task["created_at"][:19] + "Z", datetime.fromisoformat(task["created_at"]) + microsecond):
        response = await owner.call(method, path_of(task), json={"created_at": str(time).replace(" ", "T")})
        document = await problem_of(response, 400, "invalid-body")
        assert list(document["errors"]) == ["created_at"]


async def test_all_members_that_differ_are_named(owner: Api, method: str) -> None:
    task = await owner.create()
    document = await problem_of(await owner.call(method, path_of(task), json=OTHER), 400, "invalid-body")
    assert document["errors"].keys() == EQUAL


async def test_read_only_members_do_not_replace_if_match(owner: Api, method: str) -> None:
    task = await owner.create()
    stale = await owner.call(method, path_of(task), json=task, headers={"If-Match": '"7"'})
    await problem_of(stale, 412, "precondition-failed")
    current = await owner.call(method, path_of(task), json=task, headers={"If-Match": f'"{task["revision"]}"'})
    assert (current.status, await current.json()) == (200, task)


async def test_another_users_task_gets_404_whatever_the_members_are(owner: Api, stranger: Api, method: str) -> None:
    task = await owner.create()
    await stranger.create()
    for path in (path_of(task), f"{TASKS}/{UNKNOWN_ID}"):
        for body in (task, {**task, **OTHER}, {**task, "user_id": stranger.user_id}):
            await problem_of(await stranger.call(method, path, json=body), 404, "task-not-found")
    assert await owner.get(task) == task


async def test_another_users_id_gets_the_same_answer_as_an_unknown_one(owner: Api, stranger: Api, method: str) -> None:
    await stranger.create()
    task = await owner.create()
    answers = [
        await problem_of(await owner.call(method, path_of(task), json={"user_id": user_id}), 400, "invalid-body")
        for user_id in (stranger.user_id, "unknown")
    ]
    assert answers[0] == answers[1]
