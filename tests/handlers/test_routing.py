"""Unknown paths get 404, unsupported methods 405 with `Allow`, and HEAD gets the headers of GET."""

import pytest

from tests.support.api import TASKS, UNKNOWN_ID, Api, Client, path_of, problem_of

pytestmark = pytest.mark.database

CHANGES, EXPORT, ME = f"{TASKS}/changes", "/api/export", "/api/me"

UNSUPPORTED = [
    ("DELETE", TASKS, "GET, HEAD, POST"),
    ("PROPFIND", TASKS, "GET, HEAD, POST"),
    ("POST", f"{TASKS}/{UNKNOWN_ID}", "DELETE, GET, HEAD, PATCH, PUT"),
    ("GET", f"{TASKS}/{UNKNOWN_ID}/complete", "PATCH"),
    *((method, CHANGES, "GET, HEAD") for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND")),
    *((method, EXPORT, "GET, HEAD") for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
    *((method, ME, "DELETE") for method in ("GET", "POST", "PUT", "PATCH", "OPTIONS")),
]
"""Methods and paths, with the methods that the path supports."""


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/tasks/", "/api/nothing", f"/api/tasks/{UNKNOWN_ID}/", "/api//tasks"]
)
async def test_an_unknown_path_gets_404_with_a_token_and_401_without(owner: Api, client: Client, path: str) -> None:
    await problem_of(await owner.call("GET", path), 404, "route-not-found")
    await problem_of(await client.get(path), 401, "unauthorized")


async def test_an_unknown_path_outside_of_the_api_gets_404_without_a_token(client: Client) -> None:
    await problem_of(await client.get("/nothing"), 404, "route-not-found")


@pytest.mark.parametrize(("method", "path", "allow"), UNSUPPORTED)
async def test_an_unsupported_method_gets_405_with_a_token_and_401_without(
    owner: Api, client: Client, method: str, path: str, allow: str
) -> None:
    response = await owner.call(method, path, json={"title": "x"})
    await problem_of(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == allow
    await problem_of(await client.request(method, path), 401, "unauthorized")


async def test_an_unsupported_method_outside_of_the_api_gets_405_without_a_token(client: Client) -> None:
    response = await client.post("/health")
    await problem_of(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "GET, HEAD"


async def test_head_gets_the_headers_of_get_without_a_body(owner: Api) -> None:
    task = await owner.create()
    for path in (TASKS, path_of(task)):
        get, head = await owner.call("GET", path), await owner.call("HEAD", path)
        assert (head.status, await head.read()) == (200, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
