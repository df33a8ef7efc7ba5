"""Security headers: every response has them, also each error, and no header names the software behind the service."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy
from pytest_aiohttp import AiohttpClient

from tests.support.api import FAILING, JSON, TASKS, UNKNOWN_ID, Api, Client, ServiceServer, path_of, problem_of
from tests.support.raw_http import exchange
from todo_service.app import create_app
from todo_service.http.docs_pages import POLICY
from todo_service.server.runner import SERVER_OPTIONS
from todo_service.settings import Settings

pytestmark = pytest.mark.database

ORIGIN = {"Origin": "https://app.example.com"}
UNKNOWN_TASK = f"{TASKS}/{UNKNOWN_ID}"
PAGES = ("/docs", "/problems", "/openapi.json")
STATIC = [f"/docs/static/{name}" for name in ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")]

WITH_A_TOKEN: list[tuple[int, str, str, dict[str, Any]]] = [
    (200, "GET", TASKS, {}),
    (200, "HEAD", TASKS, {}),
    (200, "GET", f"{TASKS}/changes", {}),
    (200, "GET", "/api/export", {}),
    (201, "POST", TASKS, {"json": {"title": "x"}}),
    (204, "DELETE", "/api/me", {}),
    (304, "GET", TASKS, {"headers": {"If-None-Match": "*"}}),
    (400, "GET", f"{TASKS}?limit=0", {}),
    (400, "POST", TASKS, {"data": b"{", "headers": JSON}),
    (404, "GET", UNKNOWN_TASK, {}),
    (404, "GET", "/api/nothing", {}),
    (405, "DELETE", TASKS, {}),
    (410, "GET", f"{TASKS}/changes?since={UNKNOWN_ID}-7", {}),
    (412, "GET", TASKS, {"headers": {"If-Match": '"x"'}}),
    (413, "POST", TASKS, {"data": b" " * 65_537, "headers": JSON}),
    (415, "POST", TASKS, {"data": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (200, "GET", TASKS, {"headers": {"Expect": "x"}}),
]
WITHOUT_A_TOKEN: list[tuple[int, str, str, dict[str, Any]]] = [
    (200, "GET", "/health", {}),
    (200, "GET", "/health/ready", {}),
    (200, "GET", "/metrics", {}),
    *((200, "GET", path, {}) for path in (*PAGES, *STATIC)),
    (302, "GET", "/", {}),
    *((304, "GET", path, {"headers": {"If-None-Match": "*"}}) for path in ("/problems", "/openapi.json", *STATIC)),
    (204, "OPTIONS", TASKS, {"headers": {**ORIGIN, "Access-Control-Request-Method": "PUT"}}),
    (401, "GET", TASKS, {"headers": ORIGIN}),
    (401, "GET", TASKS, {"headers": {"Authorization": "Bearer x"}}),
    (404, "GET", "/nothing", {}),
    (404, "GET", "/docs/static/nothing", {}),
    (405, "POST", "/health", {}),
    (200, "GET", "/health", {"headers": {"Expect": "x"}}),
    (404, "GET", "/nothing", {"headers": {"Expect": "x"}}),
]


def assert_has_security_headers(
    headers: CIMultiDict[str] | CIMultiDictProxy[str], policy: str = "default-src 'none'; frame-ancestors 'none'"
) -> None:
    """Checks that each security header occurs once and that no header names the software."""
    expected = {
        "Content-Security-Policy": policy,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Server": "todo-service",
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
    }
    assert {name: headers.getall(name, []) for name in expected} == {name: [value] for name, value in expected.items()}
    everything = " ".join(f"{name}: {value}" for name, value in headers.items()).lower()
    assert not [name for name in ("aiohttp", "python", "gunicorn", "x-powered-by") if name in everything]


@pytest.mark.parametrize(("status", "method", "path", "arguments"), WITH_A_TOKEN)
async def test_every_response_with_a_token_has_security_headers(
    owner: Api, status: int, method: str, path: str, arguments: dict[str, Any]
) -> None:
    response = await owner.call(method, path, **arguments)
    assert response.status == status
    assert_has_security_headers(response.headers)


@pytest.mark.parametrize(("status", "method", "path", "arguments"), WITHOUT_A_TOKEN)
async def test_every_response_without_a_token_has_security_headers(
    client: Client, status: int, method: str, path: str, arguments: dict[str, Any]
) -> None:
    response = await client.request(method, path, allow_redirects=False, **arguments)
    assert response.status == status
    if path.startswith(("/docs", "/problems", "/openapi.json")) and status < 400:
        assert_has_security_headers(response.headers, POLICY)
    else:
        assert_has_security_headers(response.headers)


async def test_every_response_about_a_task_has_security_headers(owner: Api) -> None:
    task = await owner.create()
    for method, path, arguments in (
        ("GET", "", {}),
        ("GET", "", {"headers": {"If-None-Match": f'"{task["revision"]}"'}}),
        ("PATCH", "", {"json": {"title": "y"}}),
        ("PATCH", "/complete", {}),
        ("PATCH", "", {"json": {"title": "y"}, "headers": {"If-Match": '"1"'}}),
        ("DELETE", "", {}),
    ):
        response = await owner.call(method, path_of(task) + path, **arguments)
        assert_has_security_headers(response.headers)


@pytest.mark.parametrize(
    "octets",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 70_000)],
)
async def test_malformed_http_gets_a_short_problem_with_security_headers(client: Client, octets: bytes) -> None:
    [response] = await exchange(client, octets)
    assert response.status == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert b'"type": "/problems#malformed-request"' in response.body
    assert len(response.body) < 250
    assert_has_security_headers(CIMultiDict(response.headers))


async def test_500_and_503_have_security_headers(failing_client: Client, caplog: pytest.LogCaptureFixture) -> None:
    for path, status in {"/health/ready": 503, FAILING: 500}.items():
        response = await failing_client.get(path)
        assert response.status == status
        assert_has_security_headers(response.headers)
    assert "ZeroDivisionError" in caplog.text


async def test_a_failure_outside_the_middlewares_gets_a_problem_document(
    aiohttp_client: AiohttpClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    @web.middleware
    async def fail(request: web.Request, handler: Handler) -> web.StreamResponse:
        raise ZeroDivisionError("a secret")

    app = create_app(settings)
    app.middlewares.insert(0, fail)
    server = ServiceServer(app)
    await server.start_server(**SERVER_OPTIONS)
    client: Client = await aiohttp_client(server)
    response = await client.get("/health")
    document = await problem_of(response, 500, "internal-error")
    assert "secret" not in document["detail"]
    assert_has_security_headers(response.headers)
    assert "ZeroDivisionError" in caplog.text
