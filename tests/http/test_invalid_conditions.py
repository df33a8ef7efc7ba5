"""Conditions that are malformed, that an endpoint does not support, or that are for an unknown task."""

import itertools

import pytest

from tests.support.api import TASKS, UNKNOWN_ID, Api, call_with_header, case_id, path_of, problem_of, tag_of
from tests.support.conditional_requests import WRITES, Call

pytestmark = pytest.mark.database

MALFORMED = [
    "", ",", " , ,", '*, "1"', '"1", *', '*\n"1"', "*\n*", "**", "1", "'1'", '"1', '1"', '"', '"1" "2"', '"1""2"',
    '"1"W/"2"', '"1"; "2"', '"1"x', 'w/"1"', 'W/ "1"', "W/1", "W/", "W/*", '"a b"', '"a\nb"', '"a\tb"', '"1"\nx',
]  # fmt: skip


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
