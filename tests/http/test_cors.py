"""Cross-origin requests (CORS): pages of configured origins can call the API, and pages of other origins cannot."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientResponse
from multidict import CIMultiDict
from pytest_aiohttp import AiohttpClient

from tests.support.api import FAILING, TASKS, UNKNOWN_ID, Api, Client
from tests.support.cors import ORIGIN, REQUEST_HEADERS, assert_readable, cors_of, names
from todo_service.app import create_app
from todo_service.settings import Settings

pytestmark = pytest.mark.database

UNKNOWN_TASK = f"{TASKS}/{UNKNOWN_ID}"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

OTHER_ORIGINS = [
    "null",
    "https://app.example.co",
    "https://app.example.com.evil.example",
    "https://app.example.comevil.example",
    "https://evil.app.example.com",
    "https://evilapp.example.com",
    "https://evil.example?https://app.example.com",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://APP.example.com",
    "https://app.example.com/",
    "https://app.example.com, https://evil.example",
    "*",
    "",
]

# Status of the response, method, path, and other arguments of the request.
WITH_A_TOKEN: list[tuple[int, str, str, dict[str, Any]]] = [
    (200, "GET", TASKS, {}),
    (201, "POST", TASKS, {"json": {"title": "x"}}),
    (204, "DELETE", "/api/me", {}),
    (400, "GET", f"{TASKS}?limit=0", {}),
    (400, "POST", TASKS, {"data": b"{", "headers": {"Content-Type": "application/json"}}),
    (404, "GET", UNKNOWN_TASK, {}),
    (404, "GET", "/api/nothing", {}),
    (404, "GET", "/api", {}),
    (405, "DELETE", TASKS, {}),
    (405, "OPTIONS", TASKS, {}),
    (413, "POST", TASKS, {"data": b" " * 65_537, "headers": {"Content-Type": "application/json"}}),
    (415, "POST", TASKS, {"data": b"{}", "headers": {"Content-Type": "text/plain"}}),
]
TRACING = "traceparent, baggage, sentry-trace, X-Requested-With"

# The lines of Access-Control-Request-Headers, and the names that are allowed beside those of the contract.
REQUESTED_HEADERS: list[tuple[list[str], set[str]]] = [
    ([TRACING], names(TRACING)),
    (["authorization,baggage,content-type,traceparent"], {"baggage", "traceparent"}),
    (["AUTHORIZATION,x-b3-traceid"], {"x-b3-traceid"}),
    (["traceparent", "authorization", "baggage,\tsentry-trace"], {"traceparent", "baggage", "sentry-trace"}),
    ([" , ,traceparent ,,\t baggage, "], {"traceparent", "baggage"}),
    (["!#$%&'*+-.^_`|~09az"], {"!#$%&'*+-.^_`|~09az"}),
    ([f"traceparent,{'x' * 2036}"], {"traceparent", "x" * 2036}),
]
WITHOUT_OTHER_HEADERS = [
    *([], [""], [", ,"], ["authorization"], ["*"], ["*, if-match"]),
    *(["x y"], ["x:y"], ["x;y"], ['"x"'], ["é"], ["x", "y("]),
    *([f"traceparent,{'x' * 2037}"], ["x" * 1024, "y" * 1024], ["x," * 1025], ["x" * 20_000]),
]


WITHOUT_A_TOKEN: list[tuple[int, str, str]] = [
    (200, "GET", "/health"),
    (200, "GET", "/health/ready"),
    (200, "GET", "/openapi.json"),
    (200, "GET", "/docs"),
    (401, "GET", TASKS),
    (401, "GET", "/api/nothing"),
    (401, "DELETE", TASKS),
    (401, "OPTIONS", TASKS),
    (404, "GET", "/nothing"),
    (404, "OPTIONS", "/nothing"),
    (404, "GET", "/apiary"),
    (405, "POST", "/health"),
    (405, "OPTIONS", "/health"),
]


async def preflight(client: Client, path: str, headers: Mapping[str, str], method: str = "PATCH") -> ClientResponse:
    requested = {
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return await client.options(path, headers=requested | dict(headers))


@pytest.mark.parametrize(("status", "method", "path", "arguments"), WITH_A_TOKEN)
async def test_configured_origins_can_read_every_response_with_a_token(
    owner: Api, status: int, method: str, path: str, arguments: dict[str, Any]
) -> None:
    for origin in (ORIGIN, OTHER_ORIGINS[0], None):
        headers = arguments.get("headers", {}) | ({} if origin is None else {"Origin": origin})
        response = await owner.call(method, path, **arguments | {"headers": headers})
        assert response.status == status
        if origin == ORIGIN:
            assert_readable(response)
        else:
            assert cors_of(response) == {}


@pytest.mark.parametrize(("status", "method", "path"), WITHOUT_A_TOKEN)
async def test_configured_origins_can_read_every_response_without_a_token(
    client: Client, status: int, method: str, path: str
) -> None:
    response = await client.request(method, path, headers={"Origin": ORIGIN})
    assert response.status == status
    assert_readable(response)
    assert cors_of(await client.request(method, path)) == {}


async def test_configured_origins_can_read_500_and_503(
    failing_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for path, status in {"/health/ready": 503, FAILING: 500}.items():
        response = await failing_client.get(path, headers={"Origin": ORIGIN})
        assert response.status == status
        assert_readable(response)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "path", [TASKS, UNKNOWN_TASK, f"{UNKNOWN_TASK}/complete", "/api/nothing", "/health", "/nothing", "/"]
)
async def test_a_preflight_needs_no_token_and_no_known_path(client: Client, path: str) -> None:
    response = await preflight(client, path, {"Origin": ORIGIN})
    assert (response.status, await response.read()) == (204, b"")
    cors = cors_of(response)
    assert cors["allow-origin"] == ORIGIN
    assert cors["allow-credentials"] == "true"
    assert names(cors["allow-methods"]) == names(",".join(METHODS))
    assert names(cors["allow-headers"]) == REQUEST_HEADERS
    assert cors["max-age"] == "7200"
    assert "*" not in "".join(cors.values())  # browsers ignore `*` if a request has credentials


async def preflight_for(client: Client, lines: list[str]) -> ClientResponse:
    """A preflight with these lines of Access-Control-Request-Headers."""
    headers = CIMultiDict({"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH"})
    headers.extend([("Access-Control-Request-Headers", line) for line in lines])
    return await client.options(TASKS, headers=headers)


@pytest.mark.parametrize(("lines", "others"), REQUESTED_HEADERS, ids=range(len(REQUESTED_HEADERS)))
async def test_a_preflight_allows_the_requested_headers_of_a_configured_origin(
    client: Client, lines: list[str], others: set[str]
) -> None:
    allowed = names(cors_of(await preflight_for(client, lines))["allow-headers"])
    assert allowed == REQUEST_HEADERS | others


@pytest.mark.parametrize("lines", WITHOUT_OTHER_HEADERS, ids=range(len(WITHOUT_OTHER_HEADERS)))
async def test_a_preflight_with_no_valid_or_with_a_long_list_of_headers_allows_those_of_the_contract(
    client: Client, lines: list[str]
) -> None:
    cors = cors_of(await preflight_for(client, lines))
    assert names(cors["allow-headers"]) == REQUEST_HEADERS


@pytest.mark.parametrize("method", ["GET", "TRACE", "x"])
async def test_a_preflight_allows_the_same_methods_for_any_requested_method(client: Client, method: str) -> None:
    response = await preflight(client, TASKS, {"Origin": ORIGIN}, method)
    assert names(cors_of(response)["allow-methods"]) == names(",".join(METHODS))


async def test_a_response_allows_only_the_origin_of_its_request(client: Client, settings: Settings) -> None:
    for origin in settings.cors_origins:
        for response in (
            await preflight(client, TASKS, {"Origin": origin}),
            await client.get(TASKS, headers={"Origin": origin}),
        ):
            assert cors_of(response)["allow-origin"] == origin


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
async def test_other_origins_get_no_cors_headers(owner: Api, origin: str) -> None:
    response = await preflight(owner.client, TASKS, {"Origin": origin, "Access-Control-Request-Headers": TRACING})
    assert response.status == 204
    assert cors_of(response) == {}
    response = await owner.call("GET", TASKS, headers={"Origin": origin})
    assert response.status == 200
    assert cors_of(response) == {}


async def test_a_preflight_without_an_origin_gets_no_cors_headers(client: Client) -> None:
    assert cors_of(await preflight(client, TASKS, {})) == {}


async def test_without_configured_origins_no_response_has_cors_headers(
    aiohttp_client: AiohttpClient, settings: Settings
) -> None:
    client = await aiohttp_client(create_app(replace(settings, cors_origins=())))
    for origin in (ORIGIN, "null", ""):
        assert cors_of(await preflight(client, TASKS, {"Origin": origin})) == {}
        assert cors_of(await client.get("/health", headers={"Origin": origin})) == {}
