"""Forged and malformed tokens (RFC 8725, section 2): the service refuses each of them with the reason."""

import json
import re
from itertools import product
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pytest_aiohttp import AiohttpServer

from tests.support.issuer import Issuer, base64url, compact, eddsa_key, hmac_token
from tests.support.tokens import (
    ALG,
    CRIT_OR_B64,
    EDDSA,
    EDDSA_2,
    ES256,
    EXP,
    HS256,
    MALFORMED,
    NOW,
    PREVIOUS,
    RS256,
    SECRET,
    SIGNATURE,
    claims,
    refusal_of,
    secret_settings,
    token_with_header,
    valid_token,
)
from todo_service.auth.tokens import Verifier

# The form, the header and the signature


def swap_payload() -> str:
    head, _, signature = valid_token().split(".")
    return f"{head}.{compact({}, claims(sub='eve')).decode().partition('.')[2]}.{signature}"


def swap_header() -> str:
    _, payload, signature = valid_token().split(".")
    return f"{base64url(json.dumps({'alg': 'HS256'}).encode()).decode()}.{payload}.{signature}"


def non_canonical() -> str:
    """A valid token whose last character is changed in one of its two unused bits."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = valid_token()
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


FORGED = {
    "empty": ("", MALFORMED),
    "one part": ("abc", MALFORMED),
    "two parts": (valid_token().rpartition(".")[0], MALFORMED),
    "four parts": (valid_token() + ".x", MALFORMED),
    "five parts": ("a.b.c.d.e", MALFORMED),
    "only dots": ("..", MALFORMED),
    "no header": ("." + valid_token().partition(".")[2], MALFORMED),
    "no payload": (re.sub(r"\..*\.", "..", valid_token()), MALFORMED),
    "no signature": (valid_token().rpartition(".")[0] + ".", MALFORMED),
    "padded": (valid_token() + "=", MALFORMED),
    "a space": (valid_token().replace(".", ". ", 1), MALFORMED),
    "a line feed": (valid_token() + "\n", MALFORMED),
    "not ASCII": (valid_token() + "é", MALFORMED),
    "digits that are not ASCII": (valid_token() + "٣", MALFORMED),
    "a lone surrogate": (valid_token() + "\ud800", MALFORMED),
    "an escaped byte": (valid_token() + "\udcff", MALFORMED),
    "NUL": (valid_token() + "\0", MALFORMED),
    "huge": ("a" * 1_000_000 + ".b.c", MALFORMED),
    "huge, but signed": (valid_token(padding="x" * 9000), MALFORMED),
    "header of one character": ("a.b.c", MALFORMED),
    "header that is not JSON": (hmac_token(SECRET, b"alg: HS256", claims()), MALFORMED),
    "header that is a list": (hmac_token(SECRET, b'["HS256"]', claims()), MALFORMED),
    "header that is not UTF-8": (hmac_token(SECRET, b'{"alg":"HS256","x":"\xff"}', claims()), MALFORMED),
    "header in UTF-16": (hmac_token(SECRET, json.dumps(HS256).encode("utf-16"), claims()), MALFORMED),
    "header with a name twice": (hmac_token(SECRET, b'{"alg":"HS256","alg":"HS256"}', claims()), MALFORMED),
    "header nested deeply": (hmac_token(SECRET, b"[" * 5000, claims()), MALFORMED),
    "header with 5,000 digits": (hmac_token(SECRET, b'{"alg":"HS256","x":%s}' % (b"9" * 5000), claims()), MALFORMED),
    "payload that is not JSON": (hmac_token(SECRET, HS256, b"sub=ada"), MALFORMED),
    "payload that is a list": (hmac_token(SECRET, HS256, b'["ada"]'), MALFORMED),
    "payload that is not UTF-8": (hmac_token(SECRET, HS256, b'{"sub":"\xff","exp":1900000000}'), MALFORMED),
    "payload with a byte order mark": (
        hmac_token(SECRET, HS256, b"\xef\xbb\xbf" + b'{"sub":"a","exp":2e9}'),
        MALFORMED,
    ),
    "payload with a name twice": (hmac_token(SECRET, HS256, b'{"sub":"ada","sub":"eve","exp":1900000000}'), MALFORMED),
    "payload nested deeply": (hmac_token(SECRET, HS256, b'{"sub":"ada","exp":2e9,"x":' + b"[" * 5000), MALFORMED),
    "payload with 5,000 digits": (hmac_token(SECRET, HS256, b'{"sub":"ada","exp":%s}' % (b"9" * 5000)), MALFORMED),
    "alg in lower case": (token_with_header(alg="hs256"), ALG),
    "alg with a space": (token_with_header(alg="HS256 "), ALG),
    "alg null": (token_with_header(alg=None), ALG),
    "alg in a list": (token_with_header(alg=["HS256"]), ALG),
    "alg missing": (hmac_token(SECRET, {"typ": "JWT"}, claims()), ALG),
    "HS384": (hmac_token(SECRET, {"alg": "HS384"}, claims(), "sha384"), ALG),
    "HS512": (hmac_token(SECRET, {"alg": "HS512"}, claims(), "sha512"), ALG),
    "RS256": (RS256.sign({}, claims()), ALG),
    "ES256": (ES256.sign({}, claims()), ALG),
    "EdDSA": (EDDSA.sign({}, claims()), ALG),
    "EdDSA with the alg HS256": (EDDSA.sign({"alg": "HS256"}, claims()), SIGNATURE),
    "another secret": (hmac_token(PREVIOUS, HS256, claims()), SIGNATURE),
    "an empty secret": (hmac_token("", HS256, claims()), SIGNATURE),
    "the digest of HS384": (hmac_token(SECRET, HS256, claims(), "sha384"), SIGNATURE),
    "a truncated signature": (valid_token()[:-4], SIGNATURE),
    "a signature in a non-canonical form": (non_canonical(), SIGNATURE),
    "another payload": (swap_payload(), SIGNATURE),
    "another header": (swap_header(), SIGNATURE),
    "expired and forged": (hmac_token(PREVIOUS, HS256, claims(exp=1)), SIGNATURE),
    "crit": (token_with_header(crit=["exp"]), CRIT_OR_B64),
    "crit empty": (token_with_header(crit=[]), CRIT_OR_B64),
    "crit b64": (token_with_header(crit=["b64"], b64=True), CRIT_OR_B64),
    "b64 false": (token_with_header(b64=False), CRIT_OR_B64),
    "b64 false in crit": (token_with_header(crit=["b64"], b64=False), CRIT_OR_B64),
    "b64 zero": (token_with_header(b64=0), CRIT_OR_B64),
    "kid that is a number": (token_with_header(kid=1), CRIT_OR_B64),
    "kid that is null": (token_with_header(kid=None), CRIT_OR_B64),
    "payload that is a token": (hmac_token(SECRET, {**HS256, "cty": "JWT"}, valid_token().encode()), MALFORMED),
    "a claim that is a token": (hmac_token(SECRET, HS256, {"jwt": valid_token()}), EXP),
    "payload that is a string with a token": (hmac_token(SECRET, HS256, json.dumps(valid_token()).encode()), MALFORMED),
    "claims within a claim": (hmac_token(SECRET, HS256, {"claims": claims()}), EXP),
    "payload that is a string of claims": (
        hmac_token(SECRET, HS256, json.dumps(json.dumps(claims())).encode()),
        MALFORMED,
    ),
    "payload with two objects": (
        hmac_token(SECRET, HS256, json.dumps(claims()).encode() + json.dumps(claims(sub="eve")).encode()),
        MALFORMED,
    ),
    "payload with a comment": (hmac_token(SECRET, HS256, json.dumps(claims()).encode() + b"/*x*/"), MALFORMED),
    "payload with NUL at the end": (hmac_token(SECRET, HS256, json.dumps(claims()).encode() + b"\0"), MALFORMED),
    "payload with sub twice, once escaped": (
        hmac_token(SECRET, HS256, rb'{"sub":"ada","exp":1900000000,"s\u0075b":"eve"}'),
        MALFORMED,
    ),
    "header with alg twice, once escaped": (
        hmac_token(SECRET, rb'{"alg":"HS256","\u0061lg":"none"}', claims()),
        MALFORMED,
    ),
    "payload with a name twice in an object": (
        hmac_token(SECRET, HS256, b'{"sub":"ada","exp":1900000000,"x":{"y":1,"y":2}}'),
        MALFORMED,
    ),
    "claims in upper case": (hmac_token(SECRET, HS256, {"SUB": "ada", "Exp": 1_900_000_000}), EXP),
    "alg in upper case": (hmac_token(SECRET, {"ALG": "HS256"}, claims()), ALG),
    "payload that is compressed": (hmac_token(SECRET, {**HS256, "zip": "DEF"}, b"x\x9c\x03\x00"), MALFORMED),
    "an encrypted token": (
        ".".join([base64url(b'{"alg":"dir","enc":"A256GCM"}').decode(), "", "AA", "AA", "AA"]),
        MALFORMED,
    ),
    "JSON serialization": (
        json.dumps(dict(zip(("protected", "payload", "signature"), valid_token().split("."), strict=True))),
        MALFORMED,
    ),
    "JSON in base64": (base64url(valid_token().encode()).decode(), MALFORMED),
}


@pytest.mark.parametrize(("token", "reason"), FORGED.values(), ids=FORGED.keys())
async def test_a_malformed_or_forged_token_is_refused_with_the_reason(token: str, reason: str) -> None:
    verifier = Verifier(secret_settings())
    assert reason in await refusal_of(verifier, token)
    assert not verifier._cache


async def test_a_token_with_one_character_changed_added_or_removed_is_refused() -> None:
    verifier, token = Verifier(secret_settings()), valid_token()
    for place, character in enumerate(token):
        other = "A" if character != "A" else "B"
        for forged in (
            token[:place] + other + token[place + 1 :],
            token[:place] + character.swapcase() + token[place + 1 :],
            token[:place] + other + token[place:],
            token[:place] + token[place + 1 :],
            token[:place],
        ):
            assert forged == token or await refusal_of(verifier, forged)
    assert await verifier.verify(token) == "ada"


# Keys and algorithms that do not match


def confused_tokens() -> dict[str, tuple[str, str]]:
    """Tokens whose key, `alg` and `kid` do not match, each with the reason for its refusal.

    Many are signed with a public key of the issuer, as if it were a shared secret.
    """
    forged = {}
    for key in (RS256, ES256, EDDSA):
        for form in ("PEM", "DER", "JWK"):
            secret = (
                json.dumps(key.jwk).encode()
                if form == "JWK"
                else key.private.public_key().public_bytes(getattr(Encoding, form), PublicFormat.SubjectPublicKeyInfo)
            )
            for alg, reason in (("HS256", ALG), (key.algorithm, SIGNATURE)):
                header = {"alg": alg, "kid": key.jwk["kid"]}
                name = f"{key.algorithm} {form} as a secret, alg {alg}"
                forged[name] = hmac_token(secret, header, claims()), reason
    return {
        **forged,
        "kid of another key": (EDDSA.sign({"kid": "e2"}, claims()), SIGNATURE),
        "kid of a key of another kind": (EDDSA.sign({"kid": "r"}, claims()), SIGNATURE),
        "alg of another key": (RS256.sign({"alg": "EdDSA", "kid": "e"}, claims()), SIGNATURE),
        "alg that the key does not have": (RS256.sign({"alg": "ES256"}, claims()), SIGNATURE),
        "RS384": (RS256.sign({"alg": "RS384"}, claims()), ALG),
        "PS256": (RS256.sign({"alg": "PS256"}, claims()), ALG),
        "ES256K": (ES256.sign({"alg": "ES256K"}, claims()), ALG),
        "a signature of one byte": (EDDSA.sign({}, claims()).rpartition(".")[0] + ".AA", SIGNATURE),
        "a zero signature": (ES256.sign({}, claims()).rpartition(".")[0] + "." + "A" * 86, SIGNATURE),
        "signed with a secret": (valid_token(), ALG),
        "expired": (EDDSA.sign({}, claims(exp=NOW)), "has expired"),
    }


CONFUSED = confused_tokens()


@pytest.mark.parametrize(("token", "reason"), CONFUSED.values(), ids=CONFUSED.keys())
async def test_a_token_whose_key_and_algorithm_do_not_match_is_refused(
    issuer: Issuer, verifier: Verifier, token: str, reason: str
) -> None:
    issuer.keys = [EDDSA, EDDSA_2, ES256, RS256]
    assert reason in await refusal_of(verifier, token)


# Tokens with `alg` none, and tokens that name or contain keys

NONE = ["".join(letters) for letters in product("nN", "oO", "nN", "eE")]
NONE += ["none ", " none", "none\0", "n\u043ene", "none\n", "NoNe\u200b", "", "null", "None,HS256", "HS256,none"]

KIDS = [
    *("../../../../dev/null", "/dev/null", "/proc/sys/kernel/randomize_va_space", "file:///etc/passwd", "..\\..\\nul"),
    *("' OR '1'='1", "x' UNION SELECT 'key' --", "'; DROP TABLE tasks; --", "$(touch /tmp/owned)", "| id", "`id`"),
    *("http://169.254.169.254/", "https://evil.example/key", "ldap://evil.example/", "e\0", "e\r\nX: y", "", "e ", "E"),
    *("__proto__", "0", "null", "{{7*7}}", "%s", "a" * 5000),
]


@pytest.mark.parametrize("alg", NONE)
async def test_a_token_with_alg_none_in_any_spelling_is_refused(issuer: Issuer, verifier: Verifier, alg: str) -> None:
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
async def test_a_kid_is_never_used_as_a_path_a_query_or_a_url(issuer: Issuer, verifier: Verifier, kid: str) -> None:
    """An attacker could use a file's known content, or a query's known result, as the secret."""
    issuer.keys = [EDDSA]
    for secret in ("", "\0", "0\n", "2\n", "key", kid):
        forged = hmac_token(secret, {**HS256, "kid": kid}, claims())
        assert SIGNATURE in await refusal_of(Verifier(secret_settings()), forged)
        assert ALG in await refusal_of(verifier, forged)
    assert SIGNATURE in await refusal_of(verifier, EDDSA.sign({"kid": kid}, claims()))
    assert issuer.requests <= 1


@pytest.mark.parametrize("certificate", ["MIIB", "https://evil.example/", ["x"], None, {"a": 1}])
async def test_keys_and_urls_in_a_token_are_ignored(
    issuer: Issuer, verifier: Verifier, aiohttp_server: AiohttpServer, certificate: Any
) -> None:
    evil = Issuer()
    evil.keys = [own := eddsa_key(kid="e")]
    server = await aiohttp_server(evil.app())
    issuer.keys = [EDDSA]
    for path in ("/keys", "/elsewhere"):
        url = str(server.make_url(path))
        keys_and_urls = {"jwk": own.jwk, "jku": url, "x5u": url, "x5c": certificate, "x5t": "x"}
        assert await verifier.verify(EDDSA.sign(keys_and_urls, claims())) == "ada"
        for header in ({"jku": url}, {"x5u": url}, {"kid": url}, {"jwk": own.jwk}, keys_and_urls):
            for more in ({}, {"iss": url}, {"iss": url, "sub": url, "jku": url}):
                assert SIGNATURE in await refusal_of(verifier, own.sign(header, claims(**more)))
                shared = hmac_token(json.dumps(own.jwk), {**HS256, **header}, claims(**more))
                assert SIGNATURE in await refusal_of(Verifier(secret_settings()), shared)
    assert evil.requests == 0
    assert issuer.requests == 1
