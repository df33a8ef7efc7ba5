"""Conditional requests (RFC 9110): ETags, `If-Match` and `If-None-Match`. (Their grammar is in test_etags.py.)"""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestServer
from pytest_aiohttp import AiohttpClient

from tests.support.api import TASKS, UNKNOWN_ID, Api, Client, call_with_header, case_id, path_of, problem_of, tag_of
from tests.support.database import blocked_sessions
from tests.support.list_pages import create_some, next_page
from tests.support.processes import TEST_TIMEOUT
from todo_service.app import create_app
from todo_service.database import batching
from todo_service.database.batching import StatementQueue
from todo_service.database.database import DATABASE, Database
from todo_service.http.cursors import ORDERS, SORTS
from todo_service.settings import Settings

pytestmark = pytest.mark.database

UNKNOWN_LIST_TAG = f'"{UNKNOWN_ID}-1"'

QUERIES = [
    "",
    "?status=pending",
    "?status=completed&limit=1",
    "?priority=low&priority=high",
    "?due_after=2026-01-01T00:00:00Z&due_before=2030-01-01T00:00:00Z",
    "?q=nowhere",
    *(f"?sort={sort}&order={order}&limit=2" for sort, order in itertools.product(SORTS, ORDERS)),
]

# Method, suffix of the task's path, and body.
Call = tuple[str, str, dict[str, Any] | None]
# All requests that change a task in any state.
WRITES: list[Call] = [
    ("PUT", "", {"title": "Changed"}),
    ("PATCH", "", {"priority": "low"}),
    ("PATCH", "/complete", None),
    ("PATCH", "/complete", {"completed": True}),
    ("DELETE", "", None),
]
WITHOUT_EFFECT: list[Call] = [
    ("PUT", "", {"title": " Buy milk "}),
    ("PATCH", "", {}),
    ("PATCH", "", {"completed": False, "priority": None}),
    ("PATCH", "/complete", {"completed": False}),
]

# Header values. Each line is sent as a separate header. {0} is the current tag.
MATCHING = [
    '"{0}"', "*", '\t"x", "{0}" ', '"{0}","x"', ', "{0}",,', '"a,b" ,"{0}"', '"x"\n"{0}"', '"{0}"\nW/"7"',
    '""\n\n"ä", "{0}"',
]  # fmt: skip
WEAKLY_MATCHING = ['W/"{0}"', 'W/"x", W/"{0}"', '"x"\nW/"{0}"']
NOT_MATCHING = [
    '"x"', '""', '"*"', 'W/"*"', '"0{0}"', '"{0}0"', '"+{0}"', '"-{0}"', '"{0},"', '"{0}\u00a0"', '"ä"', '"٢"', '"007"',
    '"99999999999999999999999999"', '"-1"', '"1e1"', '"null"', 'W/"x", "y"\n"z"', UNKNOWN_LIST_TAG,
]  # fmt: skip
MALFORMED = [
    "", ",", " , ,", '*, "1"', '"1", *', '*\n"1"', "*\n*", "**", "1", "'1'", '"1', '1"', '"', '"1" "2"', '"1""2"',
    '"1"W/"2"', '"1"; "2"', '"1"x', 'w/"1"', 'W/ "1"', "W/1", "W/", "W/*", '"a b"', '"a\nb"', '"a\tb"', '"1"\nx',
]  # fmt: skip


async def change(api: Api, task: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = await (await api.call("PATCH", path_of(task), json={"title": "Changed since"})).json()
    return changed


async def assert_304(response: ClientResponse, tag: str) -> None:
    """Checks that a response is 304, with the headers of a 200 and no content."""
    assert response.status == 304, await response.text()
    assert response.headers["ETag"] == f'"{tag}"'
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert response.headers["Vary"] == "Authorization, Origin"
    assert await response.read() == b""
    assert "Content-Type" not in response.headers


async def assert_412(response: ClientResponse, tag: object) -> None:
    """Checks that a response is 412, with the current tag."""
    if response.method == "HEAD":
        assert (response.status, await response.read()) == (412, b"")
    else:
        await problem_of(response, 412, "precondition-failed")
    assert response.headers["ETag"] == f'"{tag}"'


# ETags


@pytest.mark.parametrize("query", QUERIES)
async def test_the_etag_of_each_list_is_the_owners_generation_and_revision(
    owner: Api, connection: asyncpg.Connection, query: str
) -> None:
    await create_some(owner, 6)
    tag = await connection.fetchval("SELECT generation || '-' || revision FROM users WHERE id = $1", owner.user_id)
    first = await owner.call("GET", TASKS + query)
    for address in (TASKS + query, next_page(first.headers) or TASKS):
        for method in ("GET", "HEAD"):
            response = await owner.call(method, address)
            assert (response.status, response.headers["ETag"]) == (200, f'"{tag}"')
            await assert_304(await call_with_header(owner, method, address, "If-None-Match", f'"{tag}"'), tag)


async def test_the_etag_of_a_task_is_its_revision(owner: Api) -> None:
    response = await owner.call("POST", TASKS, json={"title": "x"})
    assert (response.status, response.headers["ETag"]) == (201, '"1"')
    path = response.headers["Location"]
    for revision, (method, below, body) in enumerate(WRITES[:3], 2):
        response = await owner.call(method, path + below, json=body)
        assert (await response.json())["revision"] == revision
        assert response.headers["ETag"] == f'"{revision}"'
        for read in ("GET", "HEAD"):
            assert (await owner.call(read, path)).headers["ETag"] == f'"{revision}"'


@pytest.mark.parametrize("call", [("POST", "", {"title": "x"}), *WRITES], ids=case_id)
async def test_every_write_changes_the_etag_of_the_list(owner: Api, call: Call) -> None:
    method, below, body = call
    path = path_of(await owner.create())
    before = await tag_of(owner)
    await owner.call(method, TASKS if method == "POST" else path + below, json=body)
    response = await call_with_header(owner, "GET", TASKS, "If-None-Match", f'"{before}"')
    assert (response.status, await response.json()) == (200, await owner.tasks())
    assert response.headers["ETag"] != f'"{before}"'


@pytest.mark.parametrize("headers", [{}, {"If-Match": '"1"'}, {"If-Match": "*"}], ids=str)
@pytest.mark.parametrize("call", WITHOUT_EFFECT, ids=case_id)
async def test_an_update_without_effect_changes_no_etag(owner: Api, call: Call, headers: dict[str, str]) -> None:
    method, below, body = call
    task = await owner.create()
    before = await tag_of(owner)
    response = await owner.call(method, path_of(task) + below, json=body, headers=headers)
    assert (response.status, await response.json(), response.headers["ETag"]) == (200, task, '"1"')
    assert (await tag_of(owner, path_of(task)), await tag_of(owner)) == ("1", before)


@pytest.mark.parametrize("writes", [0, 1, 3])
async def test_lists_of_two_users_at_the_same_revision_have_different_etags(
    owner: Api, stranger: Api, writes: int
) -> None:
    for api in (owner, stranger):
        for _ in range(writes):
            await api.create()
    other, own = await tag_of(owner), await tag_of(stranger)
    assert other.rpartition("-")[2] == own.rpartition("-")[2] == str(writes)
    for query in QUERIES:
        response = await call_with_header(stranger, "GET", TASKS + query, "If-None-Match", f'"{other}"')
        assert (response.status, response.headers["ETag"]) == (200, f'"{own}"')
        await assert_304(
            await call_with_header(stranger, "GET", TASKS + query, "If-None-Match", f'"{other}", "{own}"'), own
        )


async def test_the_etag_of_the_list_is_new_after_the_user_deleted_all_data(owner: Api) -> None:
    tags = [await tag_of(owner)]
    for _ in range(2):
        task = await owner.create()
        response = await call_with_header(owner, "GET", TASKS, "If-None-Match", ",".join(f'"{tag}"' for tag in tags))
        assert (response.status, await response.json()) == (200, [task])
        tags.append(await tag_of(owner))
        assert (await owner.call("DELETE", "/api/me")).status == 204
        response = await call_with_header(
            owner, "GET", TASKS, "If-None-Match", ",".join(f'"{tag}"' for tag in tags[1:])
        )
        assert (response.status, await response.json()) == (200, [])
    assert [tag.rpartition("-")[2] for tag in tags] == ["0", "1", "1"]


# If-None-Match


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("value", MATCHING + WEAKLY_MATCHING)
async def test_a_read_with_a_matching_if_none_match_gets_304(owner: Api, method: str, value: str) -> None:
    path = path_of(await owner.create())
    for address in (path, TASKS):
        tag = await tag_of(owner, address)
        await assert_304(await call_with_header(owner, method, address, "If-None-Match", value.format(tag)), tag)


@pytest.mark.parametrize("value", NOT_MATCHING)
async def test_a_read_without_a_matching_if_none_match_gets_200(owner: Api, value: str) -> None:
    task = await owner.create()
    for address, expected in ((path_of(task), task), (TASKS, [task])):
        tag = await tag_of(owner, address)
        response = await call_with_header(owner, "GET", address, "If-None-Match", value.format(tag))
        assert (response.status, await response.json(), response.headers["ETag"]) == (200, expected, f'"{tag}"')


async def test_a_304_for_a_list_reads_no_tasks(owner: Api, monkeypatch: pytest.MonkeyPatch) -> None:
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
        for value in (f'"x", W/"{tag}"', "*"):
            await assert_304(await call_with_header(owner, "GET", TASKS + query, "If-None-Match", value), tag)
    assert bodies == ["[]"] * 2 * len(QUERIES)


# If-Match


@pytest.mark.parametrize("call", WRITES, ids=case_id)
async def test_a_write_with_the_current_etag_succeeds(owner: Api, call: Call) -> None:
    method, below, body = call
    for value in MATCHING:
        task = await change(owner, await owner.create())
        sent = value.format(task["revision"])
        response = await call_with_header(owner, method, path_of(task) + below, "If-Match", sent, json=body)
        assert response.status == (204 if method == "DELETE" else 200), value
        after = await owner.get(task)
        assert after == (None if method == "DELETE" else await response.json())
        assert after is None or response.headers["ETag"] == f'"{task["revision"] + 1}"'
        assert (await tag_of(owner)).endswith(f"-{task['revision'] + 1}")


@pytest.mark.parametrize("call", WRITES, ids=case_id)
async def test_a_write_with_a_stale_etag_gets_412_and_the_current_etag(owner: Api, call: Call) -> None:
    method, below, body = call
    task = await change(owner, await owner.create())
    before = await tag_of(owner)
    for value in ['"1"', '"3"', f'"{before}"', *WEAKLY_MATCHING, *NOT_MATCHING]:
        response = await call_with_header(owner, method, path_of(task) + below, "If-Match", value.format(2), json=body)
        await assert_412(response, 2)
    assert (await owner.get(task), await tag_of(owner)) == (task, before)


@pytest.mark.parametrize("call", WITHOUT_EFFECT, ids=case_id)
async def test_an_update_without_effect_with_a_stale_etag_gets_412(owner: Api, call: Call) -> None:
    method, below, body = call
    task = await owner.create()
    await assert_412(await call_with_header(owner, method, path_of(task) + below, "If-Match", '"7"', json=body), 1)


@pytest.mark.parametrize(("value", "second"), [('"1"', 412), ('"1", "2"', 200), ("*", 200)])
async def test_a_repeated_toggle_with_a_single_etag_toggles_once(owner: Api, value: str, second: int) -> None:
    path = path_of(await owner.create()) + "/complete"
    responses = [await call_with_header(owner, "PATCH", path, "If-Match", value) for _ in range(2)]
    assert [response.status for response in responses] == [200, second]
    [task] = await owner.tasks()
    assert task["completed"] is (second == 412), "with the other conditions, the second request toggles it back"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_with_if_match_gets_200_or_412(owner: Api, method: str) -> None:
    task = await change(owner, await owner.create())
    for address in (path_of(task), f"{TASKS}?sort=title", TASKS):
        tag = await tag_of(owner, address)
        for value in MATCHING:
            assert (await call_with_header(owner, method, address, "If-Match", value.format(tag))).status == 200
        for value in [*WEAKLY_MATCHING, *NOT_MATCHING, '"1"']:
            await assert_412(await call_with_header(owner, method, address, "If-Match", value.format(tag)), tag)


async def test_if_match_is_evaluated_before_if_none_match(owner: Api) -> None:
    for address in (path_of(await owner.create()), TASKS):
        tag = await tag_of(owner, address)
        both = {"If-None-Match": f'"{tag}"', "If-Match": '"7"'}
        await assert_412(await owner.call("GET", address, headers=both), tag)
        await assert_304(await owner.call("GET", address, headers={**both, "If-Match": f'"{tag}"'}), tag)


async def test_a_condition_may_have_thousands_of_etags(owner: Api) -> None:
    task = await owner.create()
    others, tag = ", ".join(f'"{number}"' for number in range(10_000, 16_000)), await tag_of(owner)
    await assert_412(await call_with_header(owner, "PATCH", path_of(task), "If-Match", others, json={"title": "y"}), 1)
    await assert_304(await call_with_header(owner, "GET", TASKS, "If-None-Match", f'{others}, "{tag}"'), tag)
    response = await call_with_header(owner, "PATCH", path_of(task), "If-Match", f'{others}, "1"', json={"title": "y"})
    assert response.status == 200


# Refused and ignored conditions


@pytest.mark.parametrize("call", [*WRITES, ("GET", "", None), ("HEAD", "", None)], ids=case_id)
async def test_a_404_to_a_request_with_a_condition_has_no_etag(owner: Api, stranger: Api, call: Call) -> None:
    method, below, body = call
    task, deleted = await owner.create(), await stranger.create()
    await stranger.call("DELETE", path_of(deleted))
    names = ("If-Match", "If-None-Match") if method in ("GET", "HEAD") else ("If-Match",)
    for name, value in itertools.product(names, ("*", '"1"', '"2"', '"7"', 'W/"1"')):
        responses = [
            await call_with_header(stranger, method, f"{TASKS}/{id_}{below}", name, value, json=body)
            for id_ in (UNKNOWN_ID, task["id"], deleted["id"], "no-id")
        ]
        assert {(response.status, "ETag" in response.headers) for response in responses} == {(404, False)}
        assert len({await response.read() for response in responses}) == 1
    assert await owner.get(task) == task


@pytest.mark.parametrize("value", MALFORMED)
async def test_a_malformed_condition_gets_400(owner: Api, value: str) -> None:
    task = await owner.create()
    before = await tag_of(owner)
    requests = [("If-Match", method, path_of(task) + below, body) for method, below, body in WRITES]
    requests += [(n, "GET", path, None) for n in ("If-Match", "If-None-Match") for path in (TASKS, path_of(task))]
    for name, method, path, body in requests:
        document = await problem_of(
            await call_with_header(owner, method, path, name, value, json=body), 400, "invalid-header"
        )
        assert list(document["errors"]) == [name]
    assert (await owner.get(task), await tag_of(owner)) == (task, before)


@pytest.mark.parametrize("value", ["*", '"1"', 'W/"x"', "", "1"])
async def test_a_condition_that_an_endpoint_does_not_support_gets_400(owner: Api, value: str) -> None:
    task = await owner.create()
    before = await tag_of(owner)
    requests = [("If-None-Match", method, path_of(task) + below, body) for method, below, body in WRITES]
    others = [("POST", TASKS), ("DELETE", "/api/me")]
    for name in ("If-Match", "If-None-Match"):
        requests += [(name, method, path, {"title": "x"} if method == "POST" else None) for method, path in others]
    for name, method, path, body in requests:
        response = await call_with_header(owner, method, path, name, value, json=body)
        document = await problem_of(response, 400, "invalid-header")
        assert list(document["errors"]) == [name]
    assert (await owner.tasks(), await tag_of(owner)) == ([task], before)


async def test_a_problem_names_both_invalid_conditions(owner: Api) -> None:
    headers = {"If-Match": "1", "If-None-Match": "*"}
    response = await owner.call("PATCH", f"{TASKS}/{UNKNOWN_ID}", json={}, headers=headers)
    document = await problem_of(response, 400, "invalid-header")
    assert set(document["errors"]) == {"If-Match", "If-None-Match"}


@pytest.mark.parametrize("path", [f"{TASKS}/changes", "/api/export"])
async def test_changes_and_export_ignore_conditions(owner: Api, path: str) -> None:
    task = await owner.create()
    response = await call_with_header(owner, "GET", path, "If-None-Match", '"x"')
    assert response.status == 200
    assert task["id"] in await response.text()


# Concurrent writes

REQUESTS = 16


async def wait_for_blocked_writes(
    connection: asyncpg.Connection, workers: list[Client], requests: int, connections: int
) -> None:
    """Waits until the workers have received these writes, and this number of their connections waits for a lock."""
    batch_queues = [worker.app[DATABASE]._queue for worker in workers]
    blocked = received = 0
    async with asyncio.timeout(TEST_TIMEOUT):
        while (received, blocked) != (requests, connections):
            blocked = len(await blocked_sessions(connection))
            received = sum(
                len(batch.calls)
                for queue in batch_queues
                for batch in (*queue._turns.values(), *(sent for sent in queue._in_flight if sent.statement.writes))
            )


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of calls in each batch, in the order in which the batches were sent."""
    sizes, take = list[int](), StatementQueue.take

    def record(self: StatementQueue, *args: Any) -> Any:
        calls = take(self, *args)
        sizes.append(len(calls))
        return calls

    monkeypatch.setattr(StatementQueue, "take", record)
    monkeypatch.setattr(batching, "TARGET_BATCH_SECONDS", 3600)  # a slow batch must not make later batches smaller
    return sizes


@pytest.fixture
async def workers(
    settings: Settings, aiohttp_client: AiohttpClient, long_lock_timeout: None, size: int
) -> list[Client]:
    """Two workers with a long lock timeout. If calls can share batches, each worker has one connection for writes."""
    connections = 2 if size > 1 else REQUESTS // 2 + 1  # one connection is kept for reads
    changed = replace(settings, database_batch_size=size, database_pool_size=connections, database_timeout=60)
    return [await aiohttp_client(TestServer(create_app(changed))) for _ in range(2)]


@pytest.mark.parametrize("size", [1, 32], ids=["without batches", "in batches"])
@pytest.mark.parametrize("call", [write for write in WRITES if write[2] != {"completed": True}], ids=case_id)
async def test_one_of_many_concurrent_writes_with_the_same_etag_succeeds(
    owner: Api, workers: list[Client], connection: asyncpg.Connection, batch_sizes: list[int], call: Call, size: int
) -> None:
    method, below, body = call
    task = await change(owner, await owner.create())
    batch_sizes.clear()

    async with connection.transaction():
        await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", owner.user_id)
        requests = []
        for number in range(REQUESTS):
            api = replace(owner, client=workers[number % 2])
            own = body and {**body, "description": f"By {number}"}
            requests.append(call_with_header(api, method, path_of(task) + below, "If-Match", '"2"', json=own))
        running = asyncio.gather(*requests)
        await wait_for_blocked_writes(connection, workers, REQUESTS, REQUESTS if size == 1 else 2)
    responses = await running

    assert (max(batch_sizes) > 1) is (size > 1)
    [winner] = [response for response in responses if response.status in (200, 204)]
    for loser in set(responses) - {winner}:
        if method == "DELETE":
            await problem_of(loser, 404, "task-not-found")
        else:
            await assert_412(loser, 3)
    after = await owner.get(task)
    assert after == (await winner.json() if method != "DELETE" else None)
    assert after is None or winner.headers["ETag"] == f'"{after["revision"]}"' == '"3"'
    assert (await tag_of(owner)).endswith("-3")


@pytest.mark.parametrize("size", [1])
@pytest.mark.parametrize("call", WRITES, ids=case_id)
async def test_a_write_that_waited_for_a_lock_is_checked_against_the_new_etag(
    owner: Api, workers: list[Client], connection: asyncpg.Connection, call: Call
) -> None:
    method, below, body = call
    task = await owner.create()

    async with connection.transaction():
        for table, condition in (("users", "id = $1"), ("tasks", "user_id = $1")):
            await connection.execute(f"UPDATE {table} SET revision = 2 WHERE {condition}", owner.user_id)
        api = replace(owner, client=workers[0])
        running = asyncio.create_task(
            call_with_header(api, method, path_of(task) + below, "If-Match", '"1"', json=body)
        )
        await wait_for_blocked_writes(connection, workers, 1, 1)

    await assert_412(await running, 2)
    assert await owner.get(task) == {**task, "revision": 2}
