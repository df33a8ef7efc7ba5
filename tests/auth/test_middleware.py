"""The authentication middleware: where it reads the token, and which paths need one."""

import json
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from tests.support.raw_http import Answer, exchange
from tests.support.tokens import bearer, client_for, secret_settings, valid_token

Client = TestClient[Any, Any]

ADA, EVE = (f"Authorization: Bearer {valid_token(sub=sub)}" for sub in ("ada", "eve"))
TOKEN = valid_token()


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    """A service with a secret. Its routes answer with the user's id, or `anonymous`."""
    return await client_for(aiohttp_client, secret_settings())


async def get(client: Client, *headers: str | bytes, target: str = "/api/me") -> Answer:
    """The response to a request with these header lines, which are sent unchanged."""
    lines = [f"GET {target} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    [answer] = await exchange(
        client, b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    )
    return answer


# Where the token is


async def test_a_valid_token_identifies_the_user(client: Client) -> None:
    response = await client.get("/api/me", headers=bearer(valid_token(sub="Ada Łovelace 🦜")))
    assert response.status == 200
    assert await response.text() == "Ada Łovelace 🦜"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR", "Bearer  "])
async def test_the_scheme_may_have_any_case_and_several_spaces_after_it(client: Client, scheme: str) -> None:
    answer = await get(client, f"Authorization: {scheme} {TOKEN}")
    assert (answer.status, answer.body) == (200, b"ada")


WITHOUT_TOKEN: dict[str, tuple[str, ...]] = {
    "no header": (),
    "an empty header": ("Authorization: ",),
    "the scheme alone": ("Authorization: Bearer",),
    "the scheme and a space": ("Authorization: Bearer ",),
    "another scheme": ("Authorization: Basic YWRhOmFkYQ==",),
    "a scheme with the same beginning": (f"Authorization: Bearers {TOKEN}",),
    "a token without a scheme": (f"Authorization: {TOKEN}",),
    "DPoP": (f"Authorization: DPoP {TOKEN}",),
    "a list of schemes": (f"Authorization: Basic YTpi, Bearer {TOKEN}",),
    "a tab after the scheme": (f"Authorization: Bearer\t{TOKEN}",),
    "a no-break space after the scheme": (f"Authorization: Bearer\u00a0{TOKEN}",),
    "no space after the scheme": (f"Authorization: Bearer{TOKEN}",),
    "a colon after the scheme": (f"Authorization: Bearer: {TOKEN}",),
    "other headers": (f"X-{ADA}", f"Proxy-{ADA}", "X-Forwarded-User: ada"),
    "a header with an underscore": (f"HTTP_AUTHORIZATION: Bearer {TOKEN}",),
    "a cookie": (f"Cookie: access_token={TOKEN}",),
}


@pytest.mark.parametrize("headers", WITHOUT_TOKEN.values(), ids=WITHOUT_TOKEN.keys())
@pytest.mark.parametrize("target", ["/api/me", f"/api/me?access_token={TOKEN}"], ids=["no query", "token in query"])
async def test_a_request_without_a_bearer_token_gets_401_without_an_error_code(
    client: Client, headers: tuple[str, ...], target: str
) -> None:
    answer = await get(client, *headers, target=target)
    assert answer.status == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == 'Bearer realm="todo-service"'
    assert "Authorization: Bearer" in json.loads(answer.body)["detail"]
    assert b"ada" not in answer.body


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ADA, ADA),
        (ADA, EVE),
        (ADA, EVE.replace("Authorization", "AUTHORIZATION")),
        (ADA, "Authorization: "),
        ("Authorization: ", ADA),
        ("Authorization: Basic YTpi", ADA),
    ],
    ids=["equal", "two users", "names in two cases", "the second empty", "the first empty", "another scheme first"],
)
async def test_two_authorization_headers_get_401(client: Client, first: str, second: str) -> None:
    answer = await get(client, first, second)
    assert answer.status == 401
    assert "more than one" in json.loads(answer.body)["detail"]


MALFORMED_TOKENS = {
    "not UTF-8": b"\xff\xfe\xfd",
    "letters that are not ASCII": b"\xc3\xa9.\xc3\xa9.\xc3\xa9",
    "a surrogate": b"a.\xed\xa0\x80.c",
    "escaped NUL": b"%00.%00.%00",
    "the end of a quoted string": b'"\\", error="x"',
    "a list": f"{TOKEN}, Bearer {TOKEN}".encode(),
    "a comma after the token": f"{TOKEN},".encode(),
    "a parameter": f'token="{TOKEN}"'.encode(),
    "quotes": f'"{TOKEN}"'.encode(),
    "the scheme twice": f"Bearer {TOKEN}".encode(),
}


@pytest.mark.parametrize("token", MALFORMED_TOKENS.values(), ids=MALFORMED_TOKENS.keys())
async def test_a_malformed_token_gets_401_and_is_not_in_the_response(client: Client, token: bytes) -> None:
    answer = await get(client, b"Authorization: Bearer " + token)
    assert answer.status == 401
    challenge = 'error="invalid_token", error_description="The token is malformed; '
    assert challenge in answer.headers["www-authenticate"]
    assert token not in "".join(answer.headers.values()).encode("latin-1") + answer.body


# Which paths need a token


@pytest.mark.parametrize(
    "path", ["/health", "/health/ready", "/openapi.json", "/docs", "/docs/static/docs.js", "/health?x=1", "/%68ealth"]
)
async def test_a_public_route_needs_no_token_and_ignores_tokens(client: Client, path: str) -> None:
    for headers in ({}, bearer("malformed"), bearer(TOKEN)):
        response = await client.get(path, headers=headers)
        assert response.status == 200
        assert await response.text() == "anonymous"


async def status_of(client: Client, method: str, path: str) -> int:
    """The status of a request without a token. The path is sent unchanged."""
    url = client.make_url("/").with_path(path, encoded=True)
    async with aiohttp.ClientSession(requote_redirect_url=False) as session:
        return (await session.request(method, url)).status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/unknown"),
        ("DELETE", "/api/me"),
        ("OPTIONS", "/api/me"),
        ("GET", "/%61pi/me"),
        ("GET", "/api%2Fme"),
        ("GET", "/undeclared"),
    ],
)
async def test_without_a_token_a_path_of_the_api_gets_401_even_if_it_is_unknown(
    client: Client, method: str, path: str
) -> None:
    assert await status_of(client, method, path) == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/unknown", 404),
        ("GET", "/health/", 404),
        ("GET", "/apis", 404),
        ("GET", "//api/me", 404),
        ("GET", "/API/me", 404),
        ("GET", "/docs/static/../../api/me", 404),
        ("POST", "/health", 405),
    ],
)
async def test_without_a_token_an_unknown_path_outside_the_api_gets_404_or_405(
    client: Client, method: str, path: str, status: int
) -> None:
    assert await status_of(client, method, path) == status


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/api/unknown", 404), ("DELETE", "/api/me", 405)])
async def test_with_a_token_an_unknown_path_gets_404_and_an_unsupported_method_405(
    client: Client, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path, headers=bearer(TOKEN))
    assert response.status == status
