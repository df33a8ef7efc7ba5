"""POST /api/tasks with an Idempotency-Key: one task, however often and in whatever company the request is sent."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.support.api import TASKS, Api, path_of, problem_of
from tests.support.idempotency import KEY, OTHER, PAYLOAD, created, post, replayed
from tests.support.members import CHANGED, CLEARED, CREATED
from todo_service.http.idempotency import derive_task_id, fingerprint
from todo_service.http.schemas import NewTaskSchema
from todo_service.problems import BODY_BYTES

pytestmark = pytest.mark.database


async def list_of(api: Api) -> tuple[str, bytes]:
    """All tasks, and the entity tag that moves with every change of any of them."""
    response = await api.call("GET", TASKS)
    return response.headers["ETag"], await response.read()


async def test_a_key_creates_once_and_then_gives_the_same_answer(owner: Api) -> None:
    first, *others = [await post(owner) for _ in range(3)]

    task = await created(first)
    assert [await replayed(other) for other in others] == [task, task]
    assert {await other.read() for other in others} == {await first.read()}
    assert await owner.tasks() == [task]
    assert UUID(task["id"]) == derive_task_id(owner.user_id, KEY)


async def test_without_a_key_every_request_creates(owner: Api) -> None:
    answers = [await owner.call("POST", TASKS, json=PAYLOAD) for _ in range(2)]

    tasks = [await created(answer) for answer in answers]
    assert await owner.tasks() == tasks[::-1]


@pytest.mark.parametrize("key", ["!", "~" * 255, '"quoted"', "a,b", "%20", "".join(map(chr, range(0x21, 0x7F)))])
async def test_any_visible_ascii_is_a_key(owner: Api, key: str) -> None:
    task = await created(await post(owner, key=key))

    assert await replayed(await post(owner, key=key)) == task
    assert (
        await replayed(await owner.call("POST", TASKS, json=PAYLOAD, headers={"idempotency-key": f" {key} "})) == task
    )


@pytest.mark.parametrize("keys", [[""], ["a" * 256], ["a b"], ["a\tb"], ["é"], ["a", "b"], ["a", "a"], ["", "a"]])
async def test_any_other_key_is_refused(owner: Api, keys: list[str]) -> None:
    headers = CIMultiDict([("Authorization", f"Bearer {owner.token}"), *(("Idempotency-Key", key) for key in keys)])

    response = await owner.client.request("POST", TASKS, json=PAYLOAD, headers=headers)

    assert list((await problem_of(response, 400, "invalid-header"))["errors"]) == ["Idempotency-Key"]
    assert await owner.tasks() == []


async def test_keys_differ_by_case(owner: Api) -> None:
    tasks = [await created(await post(owner, key=key)) for key in ("key", "KEY")]

    assert await owner.tasks() == tasks[::-1]


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
async def test_payloads_that_mean_the_same_are_the_same(owner: Api, body: str, content_type: str) -> None:
    task = await created(await post(owner))
    headers = {"Idempotency-Key": KEY, "Content-Type": content_type}

    response = await owner.call("POST", TASKS, data=body.encode(), headers=headers)

    assert await replayed(response) == task


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
async def test_another_payload_is_refused_and_changes_nothing(owner: Api, changes: dict[str, Any]) -> None:
    task = await created(await post(owner))
    before = await list_of(owner)

    await problem_of(await post(owner, PAYLOAD | changes), 422, "idempotency-key-reused")

    assert await list_of(owner) == before
    assert await replayed(await post(owner)) == task


@pytest.mark.parametrize(("path", "body"), [("", {"title": "Buy bread", "due_date": None}), ("/complete", None)])
async def test_a_repetition_gives_the_task_as_it_is_now(owner: Api, path: str, body: dict[str, Any] | None) -> None:
    task = await created(await post(owner))
    changed = await (await owner.call("PATCH", path_of(task) + path, json=body)).json()
    before = await list_of(owner)

    assert await replayed(await post(owner)) == changed != task

    assert await list_of(owner) == before


async def test_what_the_task_became_is_not_the_payload_that_made_it(owner: Api) -> None:
    task = await created(await post(owner))
    await owner.call("PATCH", path_of(task), json={"title": "Buy bread", "due_date": None})

    await problem_of(await post(owner, OTHER), 422, "idempotency-key-reused")


async def test_a_repetition_moves_nothing(owner: Api) -> None:
    task = await created(await post(owner))
    later = await owner.create()
    before = await list_of(owner)

    await replayed(await post(owner))

    assert await list_of(owner) == before
    assert await owner.get(task) == task
    assert (await owner.create())["revision"] == later["revision"] + 1


@pytest.mark.parametrize("payload", [PAYLOAD, OTHER], ids=["the same payload", "another payload"])
async def test_a_deleted_task_stays_deleted(owner: Api, payload: dict[str, Any]) -> None:
    task = await created(await post(owner))
    await owner.call("DELETE", path_of(task))
    before = await list_of(owner)

    await problem_of(await post(owner, payload), 410, "task-deleted")

    assert await owner.get(task) is None
    assert await list_of(owner) == before


@pytest.mark.parametrize("payload", [PAYLOAD, OTHER], ids=["the same payload", "another payload"])
@pytest.mark.parametrize("deleted", [False, True], ids=["of a task", "of a deleted task"])
async def test_a_key_is_new_to_a_user_who_begins_anew(owner: Api, deleted: bool, payload: dict[str, Any]) -> None:
    former = await created(await post(owner))
    if deleted:
        await owner.call("DELETE", path_of(former))
    await owner.call("DELETE", "/api/me")

    task = await created(await post(owner, payload))

    assert (task["id"], task["title"]) == (former["id"], payload["title"])
    assert await replayed(await post(owner, payload)) == task


@pytest.mark.parametrize("others", [0, 1], ids=["the first tasks", "later tasks"])
async def test_no_tag_of_a_former_life_is_one_of_the_task_that_the_same_key_makes(owner: Api, others: int) -> None:
    for _ in range(others):
        await owner.create()
    former = await created(await post(owner))
    tags = {f'"{former["revision"]}"'}
    for number in range(9):
        changed = await owner.call("PATCH", path_of(former), json={"description": str(number)})
        tags.add(changed.headers["ETag"])
    await owner.call("DELETE", "/api/me")
    for _ in range(others):
        await owner.create()

    task = await created(await post(owner, OTHER))

    assert task["id"] == former["id"]
    known = {"If-None-Match": ", ".join(tags)}
    assert (await owner.call("GET", path_of(task), headers=known)).status == 200
    stale = await owner.call("PATCH", path_of(task), json={}, headers={"If-Match": ", ".join(tags)})
    await problem_of(stale, 412, "precondition-failed")
    assert await owner.get(task) == task


async def test_the_next_key_takes_the_next_revision(owner: Api) -> None:
    await owner.create()
    first, second = [await created(await post(owner, key=key)) for key in ("first", "second")]

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
async def test_what_is_refused_does_not_use_up_the_key(
    owner: Api, body: bytes, content_type: str, status: int, name: str
) -> None:
    headers = {"Idempotency-Key": KEY, "Content-Type": content_type}

    refused = await owner.call("POST", TASKS, data=body, headers=headers)

    await problem_of(refused, status, name)
    tag, tasks = await list_of(owner)
    assert (tag.endswith('-0"'), tasks) == (True, b"[]")
    await created(await post(owner))


async def test_the_same_key_of_two_users_is_two_keys(owner: Api, stranger: Api) -> None:
    mine, theirs = await created(await post(owner)), await created(await post(stranger, OTHER))

    assert mine["id"] != theirs["id"]
    assert (await owner.tasks(), await stranger.tasks()) == ([mine], [theirs])
    assert (await replayed(await post(owner)), await replayed(await post(stranger, OTHER))) == (mine, theirs)


async def test_users_and_keys_that_read_the_same_together_are_different(user: Callable[[str], Api], owner: Api) -> None:
    whole = owner.user_id + KEY
    cuts = [len(owner.user_id), len(owner.user_id) + 1]

    tasks = [await created(await post(user(whole[:cut]), key=whole[cut:])) for cut in cuts]

    assert tasks[0]["id"] != tasks[1]["id"]


@pytest.mark.parametrize("key", [KEY, "no key"])
async def test_the_key_means_nothing_to_other_methods(owner: Api, key: str) -> None:
    task, headers = await created(await post(owner)), {"Idempotency-Key": key}
    calls: list[tuple[str, str, object]] = [
        ("GET", TASKS, None),
        ("GET", path_of(task), None),
        *(("PATCH", path_of(task), {"title": title}) for title in ("One", "Other")),
        *(("PUT", path_of(task), {"title": title}) for title in ("One", "Other")),
        *(("PATCH", f"{path_of(task)}/complete", None) for _ in range(2)),
        ("DELETE", path_of(task), None),
        *(("DELETE", "/api/me", None) for _ in range(2)),
    ]

    answers = [await owner.call(method, path, json=body, headers=headers) for method, path, body in calls]

    assert [answer.status for answer in answers] == [200] * 8 + [204] * 3
    revisions = [(await answer.json())["revision"] for answer in answers[1:8]]
    assert revisions == [task["revision"] + n for n in range(7)]
    assert not any("Idempotency-Replayed" in answer.headers for answer in answers)


USERS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=255)
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
VALUES = st.sampled_from([None, "", "a", "b", '"', "é"])
PAYLOADS = st.fixed_dictionaries({}, optional=dict.fromkeys(CREATED, VALUES))


def given_members(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if value is not None}


@given(st.lists(st.tuples(USERS, KEYS), unique=True))
def test_no_two_users_or_keys_share_an_id(senders: list[tuple[str, str]]) -> None:
    ids = {derive_task_id(user_id, key) for user_id, key in senders}

    assert len(ids) == len(senders)
    assert all(task_id.version == 5 for task_id in ids)


@given(KEYS.filter(lambda text: len(text) > 2))
def test_where_the_user_ends_and_the_key_begins_makes_a_difference(text: str) -> None:
    cuts = range(1, len(text))

    assert len({derive_task_id(text[:cut], text[cut:]) for cut in cuts}) == len(cuts)


@given(PAYLOADS, PAYLOADS)
def test_fingerprints_are_equal_when_the_members_with_a_value_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (fingerprint(one) == fingerprint(other)) is (given_members(one) == given_members(other))


@given(PAYLOADS.flatmap(lambda payload: st.tuples(st.just(payload), st.permutations(list(payload.items())))))
def test_a_fingerprint_knows_no_order(payloads: tuple[dict[str, Any], list[tuple[str, Any]]]) -> None:
    payload, members = payloads

    assert fingerprint(dict(members)) == fingerprint(payload)


def test_a_key_that_was_sent_before_an_update_means_the_same_after_it() -> None:
    """Members that it didn't have then are None in it now."""
    payload = NewTaskSchema().load({"title": "Café", "priority": "high", "due_date": "2026-12-31T15:00:00Z"})

    assert str(derive_task_id("zoë", KEY)) == "bfcd3902-ad2c-53d1-86f9-f985b81dd5ff"
    assert fingerprint(payload).hex() == "65ee2b8a13858d0ce168ad72ec1fe691"
