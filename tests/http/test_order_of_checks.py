"""The order of the checks: a request with several errors gets the problem of the first check that fails."""

import pytest
from aiohttp import ClientResponse

from tests.support.api import JSON, TASKS, UNKNOWN_ID, Api, Client, call_with_header, path_of, problem_of

pytestmark = pytest.mark.database


@pytest.mark.parametrize(("method", "below"), [("PUT", ""), ("PATCH", ""), ("PATCH", "/complete")])
async def test_an_update_with_several_errors_gets_the_problem_of_the_first_failed_check(
    owner: Api, client: Client, method: str, below: str
) -> None:
    task, unknown, no_id = (
        path_of(await owner.create()) + below,
        f"{TASKS}/{UNKNOWN_ID}{below}",
        f"{TASKS}/no-id{below}",
    )
    text, malformed, stale = {"Content-Type": "text/plain"}, {"If-Match": "1"}, {"If-Match": '"7"'}
    large, good = b"{".ljust(65_537), b'{"completed": true}'

    async def call(path: str, data: bytes, headers: dict[str, str]) -> ClientResponse:
        return await owner.call(method, path, data=data, headers=headers)

    response = await client.request(method, f"{no_id}?x=1", data=large, headers={**text, **malformed})
    await problem_of(response, 401, "unauthorized")
    await problem_of(await call(f"{no_id}?x=1", b"{", {**text, **malformed}), 415, "unsupported-media-type")
    await problem_of(await call(f"{no_id}?x=1", large, {**JSON, **malformed}), 413, "body-too-large")
    await problem_of(await call(f"{no_id}?x=1", b"{", {**JSON, **malformed}), 400, "malformed-json")
    await problem_of(await call(f"{no_id}?x=1", b'{"completed": 1}', {**JSON, **malformed}), 400, "invalid-body")
    await problem_of(await call(f"{no_id}?x=1", good, {**JSON, **malformed}), 400, "invalid-query")
    await problem_of(await call(no_id, good, {**JSON, **malformed}), 400, "invalid-header")
    await problem_of(await call(unknown, good, {**JSON, **stale}), 404, "task-not-found")
    await problem_of(await call(task, good, {**JSON, **stale}), 412, "precondition-failed")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_request_without_a_body_gets_the_problem_of_the_first_failed_check(
    owner: Api, client: Client, method: str
) -> None:
    task, unknown = path_of(await owner.create()), f"{TASKS}/{UNKNOWN_ID}"
    await problem_of(await client.request(method, f"{unknown}?x=1", headers={"If-Match": "1"}), 401, "unauthorized")
    await problem_of(await call_with_header(owner, method, f"{TASKS}/no-id?x=1", "If-Match", "1"), 400, "invalid-query")
    await problem_of(await call_with_header(owner, method, f"{TASKS}/no-id", "If-Match", "1"), 400, "invalid-header")
    await problem_of(await call_with_header(owner, method, unknown, "If-Match", '"7"'), 404, "task-not-found")
    await problem_of(await call_with_header(owner, method, task, "If-Match", '"7"'), 412, "precondition-failed")
