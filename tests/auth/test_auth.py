"""Tokens: where they are looked for, which claims are good, what is remembered, and which the command line signs."""

import asyncio
import json
from base64 import urlsafe_b64decode
from typing import Any

import aiohttp
import pytest
from pytest_aiohttp import AiohttpClient

from tests.support.issuer import hmac_token
from tests.support.tokens import (
    HS256,
    MALFORMED,
    NOW,
    PREVIOUS,
    SECRET,
    SIGNATURE,
    Clock,
    bearer,
    claims,
    client_for,
    good_token,
    header_like,
    refusal_of,
    secret_settings,
)
from todo_service.auth import tokens as auth_tokens
from todo_service.auth.tokens import Verifier, sign_token

# The middleware


async def test_a_good_token_names_the_user(aiohttp_client: AiohttpClient) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    response = await client.get("/api/me", headers=bearer(good_token(sub="Ada Łovelace 🦜")))
    assert response.status == 200
    assert await response.text() == "Ada Łovelace 🦜"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR", "Bearer  "])
async def test_the_scheme_may_be_written_in_any_case_and_with_more_spaces(
    aiohttp_client: AiohttpClient, scheme: str
) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    response = await client.get("/api/me", headers={"Authorization": f"{scheme} {good_token()}"})
    assert response.status == 200


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", "Basic YWRhOmFkYQ==", "Bearers x", "token", "DPoP x.y.z"]
)
async def test_without_a_token_the_answer_says_how_to_send_one_and_has_no_error_code(
    aiohttp_client: AiohttpClient, value: str | None
) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    response = await client.get("/api/me", headers={} if value is None else {"Authorization": value})
    assert response.status == 401
    assert response.content_type == "application/problem+json"
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="todo-service"'
    assert "Authorization: Bearer" in (await response.json(content_type=None))["detail"]


async def test_two_authorization_headers_are_refused_even_if_both_are_good(aiohttp_client: AiohttpClient) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    value = f"Bearer {good_token()}"
    response = await client.get("/api/me", headers=[("Authorization", value), ("Authorization", value)])
    assert response.status == 401
    assert "more than one" in (await response.json(content_type=None))["detail"]


async def test_tokens_in_the_query_or_a_cookie_are_not_looked_at(aiohttp_client: AiohttpClient) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    response = await client.get(
        "/api/me", params={"access_token": good_token()}, headers={"Cookie": f"access_token={good_token()}"}
    )
    assert response.status == 401


@pytest.mark.parametrize(
    "path", ["/health", "/health/ready", "/openapi.json", "/docs", "/docs/static/docs.js", "/health?x=1", "/%68ealth"]
)
async def test_public_paths_need_no_token_and_look_at_none(aiohttp_client: AiohttpClient, path: str) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    for headers in ({}, bearer("rubbish"), bearer(good_token())):
        response = await client.get(path, headers=headers)
        assert response.status == 200
        assert await response.text() == "nobody"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api", 401),
        ("GET", "/api/", 401),
        ("GET", "/api/unknown", 401),
        ("DELETE", "/api/me", 401),
        ("OPTIONS", "/api/me", 401),
        ("GET", "/%61pi/me", 401),
        ("GET", "/api%2Fme", 401),
        ("GET", "/undeclared", 401),
        ("GET", "/unknown", 404),
        ("GET", "/health/", 404),
        ("GET", "/apis", 404),
        ("GET", "//api/me", 404),
        ("GET", "/API/me", 404),
        ("GET", "/docs/static/../../api/me", 404),
        ("POST", "/health", 405),
    ],
)
async def test_strangers_learn_only_what_is_public_and_that_a_path_outside_is_unknown(
    aiohttp_client: AiohttpClient, method: str, path: str, status: int
) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    url = client.make_url("/").with_path(path, encoded=True)
    async with aiohttp.ClientSession(requote_redirect_url=False) as session:
        response = await session.request(method, url)
    assert response.status == status


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/api/unknown", 404), ("DELETE", "/api/me", 405)])
async def test_who_has_a_token_learns_that_a_route_or_method_is_unknown(
    aiohttp_client: AiohttpClient, method: str, path: str, status: int
) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    response = await client.request(method, path, headers=bearer(good_token()))
    assert response.status == status


@pytest.mark.parametrize(
    "octets", [b"\xff\xfe\xfd", b"\xc3\xa9.\xc3\xa9.\xc3\xa9", b"a.\xed\xa0\x80.c", b"%00.%00.%00", b'"\\", error="x"']
)
async def test_garbage_bytes_in_the_header_are_a_401(aiohttp_client: AiohttpClient, octets: bytes) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    assert client.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(
        b"GET /api/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + octets + b"\r\nConnection: close\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'error="invalid_token", error_description="The token is malformed; ' in answer
    assert octets not in answer


# Claims


EXP, NBF, SUB = "`exp` and `nbf` must be numbers", "not valid yet", "`sub` must be the user's id"


NO_GOOD = {
    "expired": ({"exp": NOW - 1}, "has expired"),
    "expired this very moment": ({"exp": NOW}, "has expired"),
    "expired for ever": ({"exp": -(10**398)}, "has expired"),
    "exp missing": ({"exp": ...}, EXP),
    "exp null": ({"exp": None}, EXP),
    "exp a string": ({"exp": "1900000000"}, EXP),
    "exp true": ({"exp": True}, EXP),
    "exp a list": ({"exp": [1_900_000_000]}, EXP),
    "exp infinite": ({"exp": float("inf")}, MALFORMED),
    "exp not a number": ({"exp": float("nan")}, MALFORMED),
    "nbf in the future": ({"nbf": NOW + 1}, NBF),
    "nbf a string": ({"nbf": "1"}, EXP),
    "nbf null": ({"nbf": None}, EXP),
    "nbf false": ({"nbf": False}, EXP),
    "nbf infinite": ({"nbf": float("-inf")}, MALFORMED),
    "aud that nobody expects": ({"aud": "todo"}, "has an `aud`"),
    "aud empty": ({"aud": []}, "has an `aud`"),
    "aud null": ({"aud": None}, "has an `aud`"),
    "sub missing": ({"sub": ...}, SUB),
    "sub null": ({"sub": None}, SUB),
    "sub empty": ({"sub": ""}, SUB),
    "sub a number": ({"sub": 1}, SUB),
    "sub a list": ({"sub": ["ada"]}, SUB),
    "sub too long": ({"sub": "a" * 256}, SUB),
    "sub with NUL": ({"sub": "a\0b"}, SUB),
    "sub a lone surrogate": ({"sub": "\ud83d"}, SUB),
    "sub ends in a lone surrogate": ({"sub": "ada\udc00"}, SUB),
}


@pytest.mark.parametrize(("values", "reason"), NO_GOOD.values(), ids=NO_GOOD.keys())
async def test_a_signed_token_with_bad_claims_is_refused_with_the_reason(values: dict[str, Any], reason: str) -> None:
    verifier = Verifier(secret_settings())
    assert reason in await refusal_of(verifier, good_token(**values))
    assert not verifier._cache


async def test_a_number_that_overflows_is_no_time() -> None:
    token = hmac_token(SECRET, HS256, b'{"sub":"ada","exp":1e400}')
    assert EXP in await refusal_of(Verifier(secret_settings()), token)


@pytest.mark.parametrize(
    "values",
    [
        {"exp": NOW + 0.5},
        {"exp": 10**398},
        {"exp": 1e308},
        {"nbf": NOW},
        {"nbf": 0},
        {"iat": NOW + 100},
        {"iat": "yesterday"},
        {"jti": 1},
        {"iss": "anybody"},
        {"sub": "🦜" * 255},
        {"sub": " \n"},
    ],
    ids=lambda values: str(values)[:40],
)
async def test_a_signed_token_with_good_claims_is_accepted(values: dict[str, Any]) -> None:
    expected = claims(**values)["sub"]
    assert await Verifier(secret_settings()).verify(good_token(**values)) == expected


async def test_clocks_may_differ_by_the_leeway_and_no_more(clock: Clock) -> None:
    verifier = Verifier(secret_settings(jwt_leeway=10))
    token = good_token(exp=NOW, nbf=NOW)
    clock.now = NOW - 10.5
    assert NBF in await refusal_of(verifier, token)
    for clock.now in (NOW - 10, NOW + 9.5):
        assert await verifier.verify(token) == "ada"
        assert await verifier.verify(good_token(exp=NOW, nbf=NOW, jti=str(clock.now))) == "ada"
    clock.now = NOW + 10
    assert "has expired" in await refusal_of(verifier, token)


@pytest.mark.parametrize("iss", [..., None, "", "https://evil.example", "https://id.example/", ["https://id.example"]])
async def test_another_issuer_is_refused(iss: object) -> None:
    verifier = Verifier(secret_settings(jwt_issuer="https://id.example"))
    assert await verifier.verify(good_token(iss="https://id.example")) == "ada"
    detail = await refusal_of(verifier, good_token(iss=iss))
    assert "`iss`" in detail
    assert "id.example" not in detail


@pytest.mark.parametrize("aud", [..., None, "", [], "tod", "todo ", ["mail"], {"todo": 1}, 1, [["todo"]]])
async def test_a_token_for_another_audience_is_refused(aud: object) -> None:
    verifier = Verifier(secret_settings(jwt_audience="todo"))
    assert "`aud` does not name this service" in await refusal_of(verifier, good_token(aud=aud))


@pytest.mark.parametrize("aud", ["todo", ["todo"], ["mail", "todo"], ["todo", None]])
async def test_a_token_for_this_audience_is_accepted(aud: object) -> None:
    assert await Verifier(secret_settings(jwt_audience="todo")).verify(good_token(aud=aud)) == "ada"


async def test_the_previous_secret_is_accepted_as_long_as_it_is_set() -> None:
    token = hmac_token(PREVIOUS, HS256, claims())
    both = Verifier(secret_settings(jwt_secret_previous=PREVIOUS))
    assert [await both.verify(token), await both.verify(good_token())] == ["ada", "ada"]
    assert SIGNATURE in await refusal_of(Verifier(secret_settings()), token)


async def test_a_secret_that_is_shorter_than_the_hash_verifies_nothing() -> None:
    verifier = Verifier(secret_settings(jwt_secret="short"))
    assert SIGNATURE in await refusal_of(verifier, hmac_token("short", HS256, claims()))


async def test_with_a_secret_a_kid_is_only_a_hint() -> None:
    assert await Verifier(secret_settings()).verify(header_like(kid="legacy")) == "ada"


# What is remembered


async def test_a_verified_token_is_not_verified_again_until_it_expires(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = Verifier(secret_settings(jwt_leeway=10))
    token = good_token(exp=NOW + 50)
    await verifier.verify(token)
    with monkeypatch.context() as patch:
        patch.setattr(verifier, "_check", None)  # calling it would fail
        clock.now = NOW + 59.9
        assert await verifier.verify(token) == "ada"
    clock.now = NOW + 60
    assert "has expired" in await refusal_of(verifier, token)


async def test_the_token_that_was_used_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auth_tokens.MAX_CACHED_TOKENS == 10_000
    monkeypatch.setattr(auth_tokens, "MAX_CACHED_TOKENS", 3)
    verifier = Verifier(secret_settings())
    for user in ("ada", "bob", "cyd", "ada", "dan"):
        assert await verifier.verify(good_token(sub=user)) == user
    assert [user for user, _ in verifier._cache.values()] == ["cyd", "ada", "dan"]


async def test_what_is_remembered_holds_no_token() -> None:
    verifier = Verifier(secret_settings())
    token = good_token()
    await verifier.verify(token)
    [digest] = verifier._cache
    assert len(digest) == 32
    assert token.encode() not in digest


# Signing


async def test_a_token_that_the_command_line_signs_is_good_for_its_days(clock: Clock) -> None:
    verifier = Verifier(secret_settings(jwt_issuer="https://id.example", jwt_audience="todo"))
    token = sign_token(SECRET, "ada", 2, issuer="https://id.example", audience="todo")
    assert await verifier.verify(token) == "ada"
    clock.now = NOW + 2 * 86_400
    assert "has expired" in await refusal_of(verifier, token)


async def test_a_signed_token_has_only_what_it_needs() -> None:
    token = sign_token(SECRET, "ada", 1)
    payload = token.split(".")[1]
    assert json.loads(urlsafe_b64decode(payload + "==")) == {"sub": "ada", "iat": NOW, "exp": NOW + 86_400}
    assert await Verifier(secret_settings()).verify(token) == "ada"


@pytest.mark.parametrize("user_id", ["", "a" * 256, "a\0", "\udcff"])
def test_no_token_is_signed_for_a_user_that_would_be_refused(user_id: str) -> None:
    with pytest.raises(ValueError, match=r"^A user id is .*\.$"):
        sign_token(SECRET, user_id, 1)


@pytest.mark.parametrize("days", [-1, 0, 3651])
def test_no_token_is_signed_for_ever_or_for_the_past(days: int) -> None:
    with pytest.raises(ValueError, match=r"1 to 3650 days\.$"):
        sign_token(SECRET, "ada", days)
