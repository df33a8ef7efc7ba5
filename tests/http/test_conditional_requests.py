"""ETags and conditional requests (RFC 9110): nobody is sent what they have, or changes what they haven't seen."""

import itertools
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse

from tests.support.api import JSON, TASKS, Api, Client, ask, path_of, problem_of, tag_of
from tests.support.pages import create_some, next_page
from todo_service.database.database import Database
from todo_service.http.cursors import ORDERS, SORTS

pytestmark = pytest.mark.database

NOBODYS = "6f1d0e5c-3b1c-4c39-9d7f-0b6d5a6a1c11"
NO_LISTS_TAG = f'"{NOBODYS}-1"'

QUERIES = [
    "",
    "?status=pending",
    "?status=completed&limit=1",
    "?priority=low&priority=high",
    "?due_after=2026-01-01T00:00:00Z&due_before=2030-01-01T00:00:00Z",
    "?q=nowhere",
    *(f"?sort={sort}&order={order}&limit=2" for sort, order in itertools.product(SORTS, ORDERS)),
]

# Method, path below that of a task, and body.
Call = tuple[str, str, dict[str, Any] | None]

# Everything that changes a task, whatever it was.
WRITES: list[Call] = [
    ("PUT", "", {"title": "Changed"}),
    ("PATCH", "", {"priority": "low"}),
    ("PATCH", "/complete", None),
    ("PATCH", "/complete", {"completed": True}),
    ("DELETE", "", None),
]
CHANGES_OF_NOTHING: list[Call] = [
    ("PUT", "", {"title": " Buy milk "}),
    ("PATCH", "", {}),
    ("PATCH", "", {"completed": False, "priority": None}),
    ("PATCH", "/complete", {"completed": False}),
]

# Field values, of which each line is sent as one of its own; {0} is the tag of what is there.
MATCHING = [
    '"{0}"', "*", '\t"x", "{0}" ', '"{0}","x"', ', "{0}",,', '"a,b" ,"{0}"', '"x"\n"{0}"', '"{0}"\nW/"7"',
    '""\n\n"ä", "{0}"',
]  # fmt: skip
WEAKLY_MATCHING = ['W/"{0}"', 'W/"x", W/"{0}"', '"x"\nW/"{0}"']
NOT_MATCHING = [
    '"x"', '""', '"*"', 'W/"*"', '"0{0}"', '"{0}0"', '"+{0}"', '"-{0}"', '"{0},"', '"{0}\u00a0"', '"ä"', '"٢"', '"007"',
    '"99999999999999999999999999"', '"-1"', '"1e1"', '"null"', 'W/"x", "y"\n"z"', NO_LISTS_TAG,
]  # fmt: skip
MALFORMED = [
    "", ",", " , ,", '*, "1"', '"1", *', '*\n"1"', "*\n*", "**", "1", "'1'", '"1', '1"', '"', '"1" "2"', '"1""2"',
    '"1"W/"2"', '"1"; "2"', '"1"x', 'w/"1"', 'W/ "1"', "W/1", "W/", "W/*", '"a b"', '"a\nb"', '"a\tb"', '"1"\nx',
]  # fmt: skip


async def change(api: Api, task: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = await (await api.call("PATCH", path_of(task), json={"title": "Changed since"})).json()
    return changed


async def not_modified(response: ClientResponse, tag: str) -> None:
    """Checks a 304, which has what a 200 would have, but for the content."""
    assert response.status == 304, await response.text()
    assert response.headers["ETag"] == f'"{tag}"'
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert response.headers["Vary"] == "Authorization, Origin"
    assert await response.read() == b""
    assert "Content-Type" not in response.headers


async def changed_since(response: ClientResponse, tag: object) -> None:
    """Checks a 412, which has the tag of what there is."""
    if response.method == "HEAD":
        assert (response.status, await response.read()) == (412, b"")
    else:
        await problem_of(response, 412, "precondition-failed")
    assert response.headers["ETag"] == f'"{tag}"'


@pytest.mark.parametrize("query", QUERIES)
async def test_every_list_has_the_generation_and_the_revision_of_its_owner_as_its_tag(
    owner: Api, connection: asyncpg.Connection, query: str
) -> None:
    await create_some(owner, 6)
    tag = await connection.fetchval("SELECT generation || '-' || revision FROM users WHERE id = $1", owner.user_id)
    first = await owner.call("GET", TASKS + query)
    for address in (TASKS + query, next_page(first.headers) or TASKS):
        for method in ("GET", "HEAD"):
            response = await owner.call(method, address)
            assert (response.status, response.headers["ETag"]) == (200, f'"{tag}"')
            await not_modified(await ask(owner, method, address, "If-None-Match", f'"{tag}"'), tag)


async def test_a_list_that_the_client_has_is_not_built(owner: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await create_some(owner, 6)
    tag = await tag_of(owner)
    bodies = []
    run = Database.run

    async def record(self: Database, *args: Any) -> asyncpg.Record:
        row = await run(self, *args)
        bodies.append(row["body"])
        return row

    monkeypatch.setattr(Database, "run", record)
    for query in QUERIES:
        for known in (f'"x", W/"{tag}"', "*"):
            await not_modified(await ask(owner, "GET", TASKS + query, "If-None-Match", known), tag)
    assert bodies == ["[]"] * 2 * len(QUERIES)


async def test_every_answer_with_a_task_has_its_revision_as_its_tag(owner: Api) -> None:
    response = await owner.call("POST", TASKS, json={"title": "x"})
    assert (response.status, response.headers["ETag"]) == (201, '"1"')
    path = response.headers["Location"]
    for revision, (method, below, body) in enumerate(WRITES[:3], 2):
        response = await owner.call(method, path + below, json=body)
        assert (await response.json())["revision"] == revision
        assert response.headers["ETag"] == f'"{revision}"'
        for read in ("GET", "HEAD"):
            assert (await owner.call(read, path)).headers["ETag"] == f'"{revision}"'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("value", MATCHING + WEAKLY_MATCHING)
async def test_what_the_client_has_is_not_sent_again(owner: Api, method: str, value: str) -> None:
    path = path_of(await owner.create())
    for address in (path, TASKS):
        tag = await tag_of(owner, address)
        await not_modified(await ask(owner, method, address, "If-None-Match", value.format(tag)), tag)


@pytest.mark.parametrize("value", NOT_MATCHING)
async def test_what_the_client_does_not_have_is_sent(owner: Api, value: str) -> None:
    task = await owner.create()
    for address, expected in ((path_of(task), task), (TASKS, [task])):
        tag = await tag_of(owner, address)
        response = await ask(owner, "GET", address, "If-None-Match", value.format(tag))
        assert (response.status, await response.json(), response.headers["ETag"]) == (200, expected, f'"{tag}"')


@pytest.mark.parametrize(("method", "below", "body"), [("POST", None, {"title": "x"}), *WRITES])
async def test_every_write_makes_the_tag_of_the_list_new(owner: Api, method: str, below: str | None, body: Any) -> None:
    path = path_of(await owner.create())
    before = await tag_of(owner)
    await owner.call(method, TASKS if below is None else path + below, json=body)
    response = await ask(owner, "GET", TASKS, "If-None-Match", f'"{before}"')
    assert (response.status, await response.json()) == (200, await owner.tasks())
    assert response.headers["ETag"] != f'"{before}"'


@pytest.mark.parametrize("headers", [{}, {"If-Match": '"1"'}, {"If-Match": "*"}], ids=str)
@pytest.mark.parametrize("call", CHANGES_OF_NOTHING)
async def test_a_change_of_nothing_leaves_every_tag(owner: Api, call: Call, headers: dict[str, str]) -> None:
    method, below, body = call
    task = await owner.create()
    before = await tag_of(owner)
    response = await owner.call(method, path_of(task) + below, json=body, headers=headers)
    assert (response.status, await response.json(), response.headers["ETag"]) == (200, task, '"1"')
    assert (await tag_of(owner, path_of(task)), await tag_of(owner)) == ("1", before)


@pytest.mark.parametrize("call", CHANGES_OF_NOTHING)
async def test_a_change_of_nothing_is_refused_all_the_same(owner: Api, call: Call) -> None:
    method, below, body = call
    task = await owner.create()
    await changed_since(await ask(owner, method, path_of(task) + below, "If-Match", '"7"', json=body), 1)


@pytest.mark.parametrize("writes", [0, 1, 3])
async def test_users_with_equal_counters_never_have_each_others_lists(owner: Api, stranger: Api, writes: int) -> None:
    for api in (owner, stranger):
        for _ in range(writes):
            await api.create()
    theirs, own = await tag_of(owner), await tag_of(stranger)
    assert theirs.rpartition("-")[2] == own.rpartition("-")[2] == str(writes)
    for query in QUERIES:
        response = await ask(stranger, "GET", TASKS + query, "If-None-Match", f'"{theirs}"')
        assert (response.status, response.headers["ETag"]) == (200, f'"{own}"')
        await not_modified(await ask(stranger, "GET", TASKS + query, "If-None-Match", f'"{theirs}", "{own}"'), own)


async def test_an_account_begun_anew_up_to_the_same_counter_has_another_list(owner: Api) -> None:
    tags = [await tag_of(owner)]
    for _ in range(2):
        task = await owner.create()
        response = await ask(owner, "GET", TASKS, "If-None-Match", ",".join(f'"{tag}"' for tag in tags))
        assert (response.status, await response.json()) == (200, [task])
        tags.append(await tag_of(owner))
        assert (await owner.call("DELETE", "/api/me")).status == 204
        response = await ask(owner, "GET", TASKS, "If-None-Match", ",".join(f'"{tag}"' for tag in tags[1:]))
        assert (response.status, await response.json()) == (200, [])
    assert [tag.rpartition("-")[2] for tag in tags] == ["0", "1", "1"]


@pytest.mark.parametrize("call", WRITES)
async def test_a_write_with_the_tag_of_the_task_is_made(owner: Api, call: Call) -> None:
    method, below, body = call
    for value in MATCHING:
        task = await change(owner, await owner.create())
        sent = value.format(task["revision"])
        response = await ask(owner, method, path_of(task) + below, "If-Match", sent, json=body)
        assert response.status == (204 if method == "DELETE" else 200), value
        after = await owner.get(task)
        assert after == (None if method == "DELETE" else await response.json())
        assert after is None or response.headers["ETag"] == f'"{task["revision"] + 1}"'
        assert (await tag_of(owner)).endswith(f"-{task['revision'] + 1}")


@pytest.mark.parametrize("call", WRITES)
async def test_a_write_with_any_other_tag_changes_nothing_and_is_told_the_current_one(owner: Api, call: Call) -> None:
    method, below, body = call
    task = await change(owner, await owner.create())
    before = await tag_of(owner)
    for value in ['"1"', '"3"', f'"{before}"', *WEAKLY_MATCHING, *NOT_MATCHING]:
        response = await ask(owner, method, path_of(task) + below, "If-Match", value.format(2), json=body)
        await changed_since(response, 2)
    assert (await owner.get(task), await tag_of(owner)) == (task, before)


@pytest.mark.parametrize(("value", "second"), [('"1"', 412), ('"1", "2"', 200), ("*", 200)])
async def test_completing_can_be_repeated_safely_with_one_tag(owner: Api, value: str, second: int) -> None:
    path = path_of(await owner.create()) + "/complete"
    answers = [await ask(owner, "PATCH", path, "If-Match", value) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, second]
    [task] = await owner.tasks()
    assert task["completed"] is (second == 412), "with other conditions it is toggled back"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_if_match_says_what_a_client_wants_to_read(owner: Api, method: str) -> None:
    task = await change(owner, await owner.create())
    for address in (path_of(task), f"{TASKS}?sort=title", TASKS):
        tag = await tag_of(owner, address)
        for value in MATCHING:
            assert (await ask(owner, method, address, "If-Match", value.format(tag))).status == 200
        for value in [*WEAKLY_MATCHING, *NOT_MATCHING, '"1"']:
            await changed_since(await ask(owner, method, address, "If-Match", value.format(tag)), tag)


async def test_if_match_is_looked_at_before_if_none_match(owner: Api) -> None:
    for address in (path_of(await owner.create()), TASKS):
        tag = await tag_of(owner, address)
        both = {"If-None-Match": f'"{tag}"', "If-Match": '"7"'}
        await changed_since(await owner.call("GET", address, headers=both), tag)
        await not_modified(await owner.call("GET", address, headers={**both, "If-Match": f'"{tag}"'}), tag)


@pytest.mark.parametrize("call", [*WRITES, ("GET", "", None), ("HEAD", "", None)])
async def test_of_what_a_user_does_not_have_nobody_learns_a_tag(owner: Api, stranger: Api, call: Call) -> None:
    method, below, body = call
    theirs, deleted = await owner.create(), await stranger.create()
    await stranger.call("DELETE", path_of(deleted))
    names = ("If-Match", "If-None-Match") if method in ("GET", "HEAD") else ("If-Match",)
    for name, value in itertools.product(names, ("*", '"1"', '"2"', '"7"', 'W/"1"')):
        answers = [
            await ask(stranger, method, f"{TASKS}/{id_}{below}", name, value, json=body)
            for id_ in (NOBODYS, theirs["id"], deleted["id"], "no-id")
        ]
        assert {(answer.status, "ETag" in answer.headers) for answer in answers} == {(404, False)}
        assert len({await answer.read() for answer in answers}) == 1
    assert await owner.get(theirs) == theirs


@pytest.mark.parametrize("value", MALFORMED)
async def test_a_header_that_is_no_list_of_tags_is_refused(owner: Api, value: str) -> None:
    task = await owner.create()
    before = await tag_of(owner)
    requests = [("If-Match", method, path_of(task) + below, body) for method, below, body in WRITES]
    requests += [(n, "GET", path, None) for n in ("If-Match", "If-None-Match") for path in (TASKS, path_of(task))]
    for name, method, path, body in requests:
        document = await problem_of(await ask(owner, method, path, name, value, json=body), 400, "invalid-header")
        assert list(document["errors"]) == [name]
    assert (await owner.get(task), await tag_of(owner)) == (task, before)


@pytest.mark.parametrize("value", ["*", '"1"', 'W/"x"', "", "1"])
async def test_changes_with_conditions_that_nobody_would_look_at_are_refused(owner: Api, value: str) -> None:
    task = await owner.create()
    before = await tag_of(owner)
    requests = [("If-None-Match", method, path_of(task) + below, body) for method, below, body in WRITES]
    others = [("POST", TASKS), ("DELETE", "/api/me")]
    for name in ("If-Match", "If-None-Match"):
        requests += [(name, method, path, {"title": "x"} if method == "POST" else None) for method, path in others]
    for name, method, path, body in requests:
        response = await ask(owner, method, path, name, value, json=body)
        document = await problem_of(response, 400, "invalid-header")
        assert list(document["errors"]) == [name]
    assert (await owner.tasks(), await tag_of(owner)) == ([task], before)


@pytest.mark.parametrize("path", [f"{TASKS}/changes", "/api/export"])
async def test_what_has_no_tag_is_sent_whatever_the_conditions_are(owner: Api, path: str) -> None:
    task = await owner.create()
    response = await ask(owner, "GET", path, "If-None-Match", '"x"')
    assert response.status == 200
    assert task["id"] in await response.text()


async def test_both_conditions_are_refused_together(owner: Api) -> None:
    headers = {"If-Match": "1", "If-None-Match": "*"}
    response = await owner.call("PATCH", f"{TASKS}/{NOBODYS}", json={}, headers=headers)
    document = await problem_of(response, 400, "invalid-header")
    assert set(document["errors"]) == {"If-Match", "If-None-Match"}


@pytest.mark.parametrize(("method", "below"), [("PUT", ""), ("PATCH", ""), ("PATCH", "/complete")])
async def test_what_is_wrong_with_a_change_is_refused_in_order(
    owner: Api, client: Client, method: str, below: str
) -> None:
    here = path_of(await owner.create()) + below
    nowhere, no_id = f"{TASKS}/{NOBODYS}{below}", f"{TASKS}/no-id{below}"
    text, malformed, stale = {"Content-Type": "text/plain"}, {"If-Match": "1"}, {"If-Match": '"7"'}
    large, good = b"{".ljust(65_537), b'{"completed": true}'

    async def call(path: str, data: bytes, headers: dict[str, str]) -> ClientResponse:
        return await owner.call(method, path, data=data, headers=headers)

    response = await client.request(method, nowhere, data=large, headers={**text, **malformed})
    await problem_of(response, 401, "unauthorized")
    await problem_of(await call(nowhere, good, {**text, **malformed}), 415, "unsupported-media-type")
    await problem_of(await call(nowhere, large, {**JSON, **malformed}), 413, "body-too-large")
    await problem_of(await call(no_id, good, {**JSON, **malformed}), 400, "invalid-header")
    await problem_of(await call(nowhere, b'{"completed": 1}', {**JSON, **stale}), 400, "invalid-body")
    await problem_of(await call(f"{nowhere}?x=1", good, {**JSON, **stale}), 400, "invalid-query")
    await problem_of(await call(nowhere, good, {**JSON, **stale}), 404, "task-not-found")
    await problem_of(await call(here, good, {**JSON, **stale}), 412, "precondition-failed")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_wrong_without_a_body_is_refused_in_order(owner: Api, client: Client, method: str) -> None:
    here, nowhere = path_of(await owner.create()), f"{TASKS}/{NOBODYS}"
    await problem_of(await client.request(method, nowhere, headers={"If-Match": "1"}), 401, "unauthorized")
    await problem_of(await ask(owner, method, f"{TASKS}/no-id", "If-Match", "1"), 400, "invalid-header")
    await problem_of(await ask(owner, method, nowhere, "If-Match", '"7"'), 404, "task-not-found")
    await problem_of(await ask(owner, method, here, "If-Match", '"7"'), 412, "precondition-failed")


async def test_thousands_of_tags_are_looked_through(owner: Api) -> None:
    task = await owner.create()
    others, tag = ", ".join(f'"{number}"' for number in range(10_000, 16_000)), await tag_of(owner)
    await changed_since(await ask(owner, "PATCH", path_of(task), "If-Match", others, json={"title": "y"}), 1)
    await not_modified(await ask(owner, "GET", TASKS, "If-None-Match", f'{others}, "{tag}"'), tag)
    response = await ask(owner, "PATCH", path_of(task), "If-Match", f'{others}, "1"', json={"title": "y"})
    assert response.status == 200
