"""Attacks on tokens (RFC 8725, section 2): keys that a token brings along, texts within texts, one letter changed."""

import json
from itertools import product
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient, AiohttpServer

from tests.support.issuer import Issuer, base64url, compact, eddsa_key, hmac_token
from tests.support.tokens import (
    ALG,
    EDDSA,
    HS256,
    MALFORMED,
    SECRET,
    SIGNATURE,
    bearer,
    claims,
    client_for,
    good_token,
    header_like,
    refusal_of,
    secret_settings,
)
from tests.support.wire import exchange
from todo_service.auth.tokens import Verifier

NONE = ["".join(letters) for letters in product("nN", "oO", "nN", "eE")]
NONE += ["none ", " none", "none\0", "n\u043ene", "none\n", "NoNe\u200b", "", "null", "None,HS256", "HS256,none"]

KIDS = [
    *("../../../../dev/null", "/dev/null", "/proc/sys/kernel/randomize_va_space", "file:///etc/passwd", "..\\..\\nul"),
    *("' OR '1'='1", "x' UNION SELECT 'key' --", "'; DROP TABLE tasks; --", "$(touch /tmp/owned)", "| id", "`id`"),
    *("http://169.254.169.254/", "https://evil.example/key", "ldap://evil.example/", "e\0", "e\r\nX: y", "", "e ", "E"),
    *("__proto__", "0", "null", "{{7*7}}", "%s", "a" * 5000),
]


@pytest.mark.parametrize("alg", NONE)
async def test_none_is_no_algorithm_however_it_is_written(issuer: Issuer, verifier: Verifier, alg: str) -> None:
    issuer.keys = [EDDSA]
    for each in (Verifier(secret_settings()), verifier):
        for header in ({"alg": alg}, {"alg": alg, "typ": "JWT", "kid": "e"}):
            unsigned = compact(header, claims()).decode()
            assert MALFORMED in await refusal_of(each, unsigned)
            assert MALFORMED in await refusal_of(each, unsigned + ".")
            assert ALG in await refusal_of(each, unsigned + ".AA")
            assert ALG in await refusal_of(each, hmac_token("", header, claims()))
            assert ALG in await refusal_of(each, hmac_token(SECRET, header, claims()))


@pytest.mark.parametrize("kid", KIDS, ids=lambda kid: repr(kid)[:30])
async def test_a_kid_is_no_path_no_query_and_no_address(issuer: Issuer, verifier: Verifier, kid: str) -> None:
    """Files whose content is known, or values that a query would give, could be the secret."""
    issuer.keys = [EDDSA]
    for secret in ("", "\0", "0\n", "2\n", "key", kid):
        forged = hmac_token(secret, {**HS256, "kid": kid}, claims())
        assert SIGNATURE in await refusal_of(Verifier(secret_settings()), forged)
        assert ALG in await refusal_of(verifier, forged)
    assert SIGNATURE in await refusal_of(verifier, EDDSA.sign({"kid": kid}, claims()))
    assert issuer.requests <= 1


@pytest.mark.parametrize("certificate", ["MIIB", "https://evil.example/", ["x"], None, {"a": 1}])
async def test_addresses_in_a_token_are_never_called(
    issuer: Issuer, verifier: Verifier, aiohttp_server: AiohttpServer, certificate: Any
) -> None:
    evil = Issuer()
    evil.keys = [own := eddsa_key(kid="e")]
    server = await aiohttp_server(evil.app())
    issuer.keys = [EDDSA]
    for path in ("/keys", "/elsewhere"):
        url = str(server.make_url(path))
        for header in ({"jku": url}, {"x5u": url}, {"kid": url}, {"jwk": own.jwk, "jku": url, "x5c": certificate}):
            for more in ({}, {"iss": url}, {"iss": url, "sub": url, "jku": url}):
                assert "refused" not in await refusal_of(verifier, own.sign(header, claims(**more)))
                shared = hmac_token(json.dumps(own.jwk), {**HS256, **header}, claims(**more))
                assert SIGNATURE in await refusal_of(Verifier(secret_settings()), shared)
    assert evil.requests == 0
    assert issuer.requests == 1


NESTED = {
    "a token in a token": hmac_token(SECRET, {**HS256, "cty": "JWT"}, good_token().encode()),
    "a token in a claim": hmac_token(SECRET, HS256, {"jwt": good_token()}),
    "a token in quotes": hmac_token(SECRET, HS256, json.dumps(good_token()).encode()),
    "claims in claims": hmac_token(SECRET, HS256, {"claims": claims()}),
    "claims in a text": hmac_token(SECRET, HS256, json.dumps(json.dumps(claims())).encode()),
    "two payloads": hmac_token(SECRET, HS256, json.dumps(claims()).encode() + json.dumps(claims(sub="eve")).encode()),
    "a comment": hmac_token(SECRET, HS256, json.dumps(claims()).encode() + b"/*x*/"),
    "NUL after the payload": hmac_token(SECRET, HS256, json.dumps(claims()).encode() + b"\0"),
    "sub twice, once escaped": hmac_token(SECRET, HS256, rb'{"sub":"ada","exp":1900000000,"s\u0075b":"eve"}'),
    "alg twice, once escaped": hmac_token(SECRET, rb'{"alg":"HS256","\u0061lg":"none"}', claims()),
    "a name twice within": hmac_token(SECRET, HS256, b'{"sub":"ada","exp":1900000000,"x":{"y":1,"y":2}}'),
    "names in upper case": hmac_token(SECRET, HS256, {"SUB": "ada", "Exp": 1_900_000_000}),
    "an algorithm in upper case letters of its name": hmac_token(SECRET, {"ALG": "HS256"}, claims()),
    "a compressed payload": hmac_token(SECRET, {**HS256, "zip": "DEF"}, b"x\x9c\x03\x00"),
    "an encrypted token": ".".join([base64url(b'{"alg":"dir","enc":"A256GCM"}').decode(), "", "AA", "AA", "AA"]),
    "JSON serialization": json.dumps(
        dict(zip(("protected", "payload", "signature"), good_token().split("."), strict=True))
    ),
    "JSON in base64": base64url(good_token().encode()).decode(),
}


@pytest.mark.parametrize("token", NESTED.values(), ids=NESTED.keys())
async def test_what_is_within_a_token_is_no_token(token: str) -> None:
    assert await refusal_of(Verifier(secret_settings()), token)


async def test_one_letter_changed_added_or_missing_spoils_a_token() -> None:
    verifier, token = Verifier(secret_settings()), good_token()
    for place, letter in enumerate(token):
        other = "A" if letter != "A" else "B"
        for forged in (
            token[:place] + other + token[place + 1 :],
            token[:place] + letter.swapcase() + token[place + 1 :],
            token[:place] + other + token[place:],
            token[:place] + token[place + 1 :],
            token[:place],
        ):
            assert forged == token or await refusal_of(verifier, forged)
    assert await verifier.verify(token) == "ada"


async def test_what_a_good_token_says_besides_is_ignored() -> None:
    for members in (
        {"zip": "none"},
        {"cty": "JWT"},
        {"typ": "at+jwt"},
        {"typ": ["JWT"]},
        {"kid": "' OR 1=1"},
        {"x": {"y": 1}},
    ):
        assert await Verifier(secret_settings()).verify(header_like(**members)) == "ada"
    for more in ({"admin": True}, {"user_id": "eve"}, {"sub ": "eve"}, {"Sub": "eve"}, {"scope": "*"}, {"iss": ["x"]}):
        assert await Verifier(secret_settings()).verify(good_token(**more)) == "ada"


GOOD, EVES = f"Bearer {good_token()}", f"Bearer {good_token(sub='eve')}"
HEADERS = {
    "two users": [("Authorization", GOOD), ("Authorization", EVES)],
    "two ways to write it": [("Authorization", GOOD), ("AUTHORIZATION", EVES)],
    "a good and an empty one": [("Authorization", GOOD), ("Authorization", "")],
    "an empty and a good one": [("Authorization", ""), ("Authorization", GOOD)],
    "another scheme and a good one": [("Authorization", "Basic YTpi"), ("Authorization", GOOD)],
    "a list": [("Authorization", f"{GOOD}, {EVES}")],
    "a list of schemes": [("Authorization", f"Basic YTpi, {GOOD}")],
    "a comma at the end": [("Authorization", f"{GOOD},")],
    "a parameter": [("Authorization", f'Bearer token="{good_token()}"')],
    "quotes": [("Authorization", f'Bearer "{good_token()}"')],
    "a tab": [("Authorization", f"Bearer\t{good_token()}")],
    "a space without a break": [("Authorization", f"Bearer\u00a0{good_token()}")],
    "no space": [("Authorization", f"Bearer{good_token()}")],
    "a colon": [("Authorization", f"Bearer: {good_token()}")],
    "the scheme twice": [("Authorization", f"Bearer {GOOD}")],
    "another header": [("X-Authorization", GOOD), ("Proxy-Authorization", GOOD), ("X-Forwarded-User", "ada")],
    "a header with an underscore": [("HTTP_AUTHORIZATION", GOOD)],
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
async def test_a_token_is_looked_for_in_one_place_only(
    aiohttp_client: AiohttpClient, headers: list[tuple[str, str]]
) -> None:
    client = await client_for(aiohttp_client, secret_settings())
    lines = ["GET /api/me HTTP/1.1", "Host: x", "Connection: close", *(f"{name}: {value}" for name, value in headers)]
    [answer] = await exchange(client, ("\r\n".join(lines) + "\r\n\r\n").encode())
    assert answer.status == 401
    assert b"ada" not in answer.body
    assert (await client.get("/api/me", headers=bearer(good_token()))).status == 200
