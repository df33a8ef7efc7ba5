"""The ETags of responses (RFC 9110, section 8.8.3): their values, and the writes that change them."""

import asyncpg
import pytest

from tests.support.api import TASKS, Api, call_with_header, case_id, path_of, tag_of
from tests.support.conditional_requests import QUERIES, WITHOUT_EFFECT, WRITES, Call, assert_304
from tests.support.list_pages import create_some, next_page

pytestmark = pytest.mark.database


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
    path = f"/api/{response.headers['Location']}"
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
