"""Idempotency: POST /api/tasks with one Idempotency-Key creates one task, however often it is sent."""

import json
from typing import Any
from uuid import UUID

import pytest
from multidict import CIMultiDict

from tests.support.api import TASKS, Api, path_of, problem_of
from tests.support.idempotency import KEY, OTHER, PAYLOAD, assert_created, assert_replayed, post
from tests.support.members import CHANGED, CLEARED, CREATED
from todo_service.http.idempotency import derive_task_id
from todo_service.problems import BODY_BYTES

pytestmark = pytest.mark.database


async def list_of(api: Api) -> tuple[str, bytes]:
    """The ETag and the body of the list. Each write changes the ETag."""
    response = await api.call("GET", TASKS)
    return response.headers["ETag"], await response.read()


# One task for each key


async def test_repeated_requests_with_one_key_create_one_task(owner: Api) -> None:
    first, *others = [await post(owner) for _ in range(3)]

    task = await assert_created(first)
    assert [await assert_replayed(other) for other in others] == [task, task]
    assert {await other.read() for other in others} == {await first.read()}
    assert await owner.tasks() == [task]
    assert UUID(task["id"]) == derive_task_id(owner.user_id, KEY)


async def test_every_request_without_a_key_creates_a_task(owner: Api) -> None:
    responses = [await owner.call("POST", TASKS, json=PAYLOAD) for _ in range(2)]

    tasks = [await assert_created(response) for response in responses]
    assert await owner.tasks() == tasks[::-1]


@pytest.mark.parametrize(("path", "body"), [("", {"title": "Buy bread", "due_date": None}), ("/complete", None)])
async def test_a_repeated_request_returns_the_current_task_and_changes_nothing(
    owner: Api, path: str, body: dict[str, Any] | None
) -> None:
    task = await assert_created(await post(owner))
    changed = await (await owner.call("PATCH", path_of(task) + path, json=body)).json()
    await owner.create()  # now the list has a higher revision than the task
    before = await list_of(owner)

    assert await assert_replayed(await post(owner)) == changed != task

    assert await list_of(owner) == before


async def test_each_new_key_takes_the_next_revision(owner: Api) -> None:
    await owner.create()
    first, second = [await assert_created(await post(owner, key=key)) for key in ("first", "second")]

    assert (await owner.create())["revision"] == second["revision"] + 1 == first["revision"] + 2


@pytest.mark.parametrize(
    ("body", "content_type", "status", "name"),
    [
        (b'{"title": ', "application/json", 400, "malformed-json"),
        (b'{"title": " "}', "application/json", 400, "invalid-body"),
        (b'{"title": "x", "completed": true}', "application/json", 400, "invalid-body"),
        (b'{"title": "x"}', "text/plain", 415, "unsupported-media-type"),
        (b" " * (BODY_BYTES + 1), "application/json", 413, "body-too-large"),
    ],
)
async def test_an_invalid_request_does_not_use_up_its_key(
    owner: Api, body: bytes, content_type: str, status: int, name: str
) -> None:
    headers = {"Idempotency-Key": KEY, "Content-Type": content_type}

    refused = await owner.call("POST", TASKS, data=body, headers=headers)

    await problem_of(refused, status, name)
    tag, tasks = await list_of(owner)
    assert (tag.endswith('-0"'), tasks) == (True, b"[]")
    await assert_created(await post(owner))


async def test_two_users_can_send_the_same_key(owner: Api, stranger: Api) -> None:
    one, other = await assert_created(await post(owner)), await assert_created(await post(stranger, OTHER))

    assert one["id"] != other["id"]
    assert (await owner.tasks(), await stranger.tasks()) == ([one], [other])
    assert (await assert_replayed(await post(owner)), await assert_replayed(await post(stranger, OTHER))) == (
        one,
        other,
    )


@pytest.mark.parametrize("key", [KEY, "no key"])
async def test_methods_other_than_post_ignore_the_key(owner: Api, key: str) -> None:
    task, headers = await assert_created(await post(owner)), {"Idempotency-Key": key}
    calls: list[tuple[str, str, object]] = [
        ("GET", TASKS, None),
        ("GET", path_of(task), None),
        *(("PATCH", path_of(task), {"title": title}) for title in ("One", "Other")),
        *(("PUT", path_of(task), {"title": title}) for title in ("One", "Other")),
        *(("PATCH", f"{path_of(task)}/complete", None) for _ in range(2)),
        ("DELETE", path_of(task), None),
        *(("DELETE", "/api/me", None) for _ in range(2)),
    ]

    responses = [await owner.call(method, path, json=body, headers=headers) for method, path, body in calls]

    assert [response.status for response in responses] == [200] * 8 + [204] * 3
    revisions = [(await response.json())["revision"] for response in responses[1:8]]
    assert revisions == [task["revision"] + n for n in range(7)]
    assert not any("Idempotency-Replayed" in response.headers for response in responses)


# Valid and invalid keys


@pytest.mark.parametrize("key", ["!", "~" * 255, '"quoted"', "a,b", "%20", "".join(map(chr, range(0x21, 0x7F)))])
async def test_a_key_may_have_any_visible_ascii_characters(owner: Api, key: str) -> None:
    task = await assert_created(await post(owner, key=key))

    assert await assert_replayed(await post(owner, key=key)) == task
    assert (
        await assert_replayed(await owner.call("POST", TASKS, json=PAYLOAD, headers={"idempotency-key": f" {key} "}))
        == task
    )


@pytest.mark.parametrize("keys", [[""], ["a" * 256], ["a b"], ["a\tb"], ["é"], ["a", "b"], ["a", "a"], ["", "a"]])
async def test_an_invalid_key_gets_400(owner: Api, keys: list[str]) -> None:
    headers = CIMultiDict([("Authorization", f"Bearer {owner.token}"), *(("Idempotency-Key", key) for key in keys)])

    response = await owner.client.request("POST", TASKS, json=PAYLOAD, headers=headers)

    assert list((await problem_of(response, 400, "invalid-header"))["errors"]) == ["Idempotency-Key"]
    assert await owner.tasks() == []


async def test_keys_are_case_sensitive(owner: Api) -> None:
    tasks = [await assert_created(await post(owner, key=key)) for key in ("key", "KEY")]

    assert await owner.tasks() == tasks[::-1]


# Equal and different payloads


@pytest.mark.parametrize(
    "body",
    [
        '{"title": "Buy milk", "due_date": "2026-12-31T15:00:00Z"}',
        '{"due_date":"2026-12-31T15:00:00Z","title":"\\u0042uy milk"}',
        '{"title": "  Buy milk\\n", "due_date": "2026-12-31T15:00:00Z"}',
        '{"title": "Buy milk", "due_date": "2026-12-31t17:00:00.0000001+02:00"}',
        json.dumps({**CLEARED, **PAYLOAD}),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json; charset=UTF-8"])
async def test_an_equal_payload_may_be_written_in_another_way(owner: Api, body: str, content_type: str) -> None:
    task = await assert_created(await post(owner))
    headers = {"Idempotency-Key": KEY, "Content-Type": content_type}

    response = await owner.call("POST", TASKS, data=body.encode(), headers=headers)

    assert await assert_replayed(response) == task


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "buy milk"},
        {"title": "Buy  milk"},
        {"description": ""},
        {"description": "Buy milk"},
        *({name: CHANGED[name]} for name in CREATED),
        {"due_date": None},
        {"due_date": "2026-12-31T15:00:00.000001Z"},
        {"due_date": "2026-12-31T15:00:00+02:00"},
    ],
    ids=str,
)
async def test_a_known_key_with_another_payload_gets_422(owner: Api, changes: dict[str, Any]) -> None:
    task = await assert_created(await post(owner))
    before = await list_of(owner)

    await problem_of(await post(owner, PAYLOAD | changes), 422, "idempotency-key-reused")

    assert await list_of(owner) == before
    assert await assert_replayed(await post(owner)) == task


async def test_a_payload_is_compared_with_the_first_payload_and_not_with_the_task(owner: Api) -> None:
    task = await assert_created(await post(owner))
    await owner.call("PATCH", path_of(task), json={"title": "Buy bread", "due_date": None})

    await problem_of(await post(owner, OTHER), 422, "idempotency-key-reused")


# Deleted tasks


@pytest.mark.parametrize("payload", [PAYLOAD, OTHER], ids=["the same payload", "another payload"])
async def test_the_key_of_a_deleted_task_gets_410(owner: Api, payload: dict[str, Any]) -> None:
    task = await assert_created(await post(owner))
    await owner.call("DELETE", path_of(task))
    before = await list_of(owner)

    await problem_of(await post(owner, payload), 410, "task-deleted")

    assert await owner.get(task) is None
    assert await list_of(owner) == before


@pytest.mark.parametrize("payload", [PAYLOAD, OTHER], ids=["the same payload", "another payload"])
@pytest.mark.parametrize("deleted", [False, True], ids=["key of a task", "key of a deleted task"])
async def test_a_key_creates_a_task_again_after_the_user_deleted_all_data(
    owner: Api, deleted: bool, payload: dict[str, Any]
) -> None:
    former = await assert_created(await post(owner))
    if deleted:
        await owner.call("DELETE", path_of(former))
    await owner.call("DELETE", "/api/me")

    task = await assert_created(await post(owner, payload))

    assert (task["id"], task["title"]) == (former["id"], payload["title"])
    assert await assert_replayed(await post(owner, payload)) == task


@pytest.mark.parametrize("others", [0, 1], ids=["first write of the user", "second write of the user"])
async def test_a_task_created_again_has_none_of_its_former_etags(owner: Api, others: int) -> None:
    for _ in range(others):
        await owner.create()
    former = await assert_created(await post(owner))
    tags = {f'"{former["revision"]}"'}
    for number in range(9):
        changed = await owner.call("PATCH", path_of(former), json={"description": str(number)})
        tags.add(changed.headers["ETag"])
    await owner.call("DELETE", "/api/me")
    for _ in range(others):
        await owner.create()

    task = await assert_created(await post(owner, OTHER))

    assert task["id"] == former["id"]
    former_etags = {"If-None-Match": ", ".join(tags)}
    assert (await owner.call("GET", path_of(task), headers=former_etags)).status == 200
    stale = await owner.call("PATCH", path_of(task), json={}, headers={"If-Match": ", ".join(tags)})
    await problem_of(stale, 412, "precondition-failed")
    assert await owner.get(task) == task
