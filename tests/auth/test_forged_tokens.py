"""Forged and broken tokens, and keys that must not be used: each is refused, and the refusal says why."""

import json
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.issuer import Issuer, SigningKey, base64url, compact, eddsa_key, es256_key, hmac_token
from tests.support.tokens import (
    ALG,
    EDDSA,
    EDDSA_2,
    ES256,
    HEADER,
    HS256,
    MALFORMED,
    NOW,
    PREVIOUS,
    RS256,
    SECRET,
    SIGNATURE,
    SMALL_RS256,
    claims,
    good_token,
    header_like,
    jwk_like,
    key_set_settings,
    refusal_of,
    secret_settings,
)
from todo_service.auth.tokens import Verifier

# With a secret


def swap_payload() -> str:
    head, _, signature = good_token().split(".")
    return f"{head}.{compact({}, claims(sub='eve')).decode().partition('.')[2]}.{signature}"


def swap_header() -> str:
    _, payload, signature = good_token().split(".")
    return f"{base64url(json.dumps({'alg': 'HS256'}).encode()).decode()}.{payload}.{signature}"


def non_canonical() -> str:
    """Other letters for the same signature: the last one has two bits to spare."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = good_token()
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


SIGNED_BY_NOBODY = compact({"alg": "none"}, claims()).decode()
FORGED = {
    "empty": ("", MALFORMED),
    "one part": ("abc", MALFORMED),
    "two parts": (good_token().rpartition(".")[0], MALFORMED),
    "four parts": (good_token() + ".x", MALFORMED),
    "five parts": ("a.b.c.d.e", MALFORMED),
    "only dots": ("..", MALFORMED),
    "no header": ("." + good_token().partition(".")[2], MALFORMED),
    "no payload": (re.sub(r"\..*\.", "..", good_token()), MALFORMED),
    "no signature": (good_token().rpartition(".")[0] + ".", MALFORMED),
    "padded": (good_token() + "=", MALFORMED),
    "a space": (good_token().replace(".", ". ", 1), MALFORMED),
    "a line feed": (good_token() + "\n", MALFORMED),
    "not ASCII": (good_token() + "é", MALFORMED),
    "digits that are not ASCII": (good_token() + "٣", MALFORMED),
    "a lone surrogate": (good_token() + "\ud800", MALFORMED),
    "an escaped byte": (good_token() + "\udcff", MALFORMED),
    "NUL": (good_token() + "\0", MALFORMED),
    "huge": ("a" * 1_000_000 + ".b.c", MALFORMED),
    "huge, but signed": (good_token(padding="x" * 9000), MALFORMED),
    "header of one letter": ("a.b.c", MALFORMED),
    "header that is no JSON": (hmac_token(SECRET, b"alg: HS256", claims()), MALFORMED),
    "header that is a list": (hmac_token(SECRET, b'["HS256"]', claims()), MALFORMED),
    "header that is not UTF-8": (hmac_token(SECRET, b'{"alg":"HS256","x":"\xff"}', claims()), MALFORMED),
    "header in UTF-16": (hmac_token(SECRET, json.dumps(HS256).encode("utf-16"), claims()), MALFORMED),
    "header with a twin": (hmac_token(SECRET, b'{"alg":"HS256","alg":"HS256"}', claims()), MALFORMED),
    "header nested deeply": (hmac_token(SECRET, b"[" * 5000, claims()), MALFORMED),
    "header with 5,000 digits": (hmac_token(SECRET, b'{"alg":"HS256","x":%s}' % (b"9" * 5000), claims()), MALFORMED),
    "payload that is no JSON": (hmac_token(SECRET, HS256, b"sub=ada"), MALFORMED),
    "payload that is a list": (hmac_token(SECRET, HS256, b'["ada"]'), MALFORMED),
    "payload that is not UTF-8": (hmac_token(SECRET, HS256, b'{"sub":"\xff","exp":1900000000}'), MALFORMED),
    "payload with a byte order mark": (
        hmac_token(SECRET, HS256, b"\xef\xbb\xbf" + b'{"sub":"a","exp":2e9}'),
        MALFORMED,
    ),
    "payload with a twin": (hmac_token(SECRET, HS256, b'{"sub":"ada","sub":"eve","exp":1900000000}'), MALFORMED),
    "payload nested deeply": (hmac_token(SECRET, HS256, b'{"sub":"ada","exp":2e9,"x":' + b"[" * 5000), MALFORMED),
    "payload with 5,000 digits": (hmac_token(SECRET, HS256, b'{"sub":"ada","exp":%s}' % (b"9" * 5000)), MALFORMED),
    "signed by nobody": (SIGNED_BY_NOBODY + ".", MALFORMED),
    "alg none": (SIGNED_BY_NOBODY + ".AA", ALG),
    "alg None": (header_like(alg="None"), ALG),
    "alg NONE, signed": (header_like(alg="NONE"), ALG),
    "alg hs256": (header_like(alg="hs256"), ALG),
    "alg HS256 and a space": (header_like(alg="HS256 "), ALG),
    "alg empty": (header_like(alg=""), ALG),
    "alg null": (header_like(alg=None), ALG),
    "alg in a list": (header_like(alg=["HS256"]), ALG),
    "alg missing": (hmac_token(SECRET, {"typ": "JWT"}, claims()), ALG),
    "HS384": (hmac_token(SECRET, {"alg": "HS384"}, claims(), "sha384"), ALG),
    "HS512": (hmac_token(SECRET, {"alg": "HS512"}, claims(), "sha512"), ALG),
    "RS256": (RS256.sign({}, claims()), ALG),
    "ES256": (ES256.sign({}, claims()), ALG),
    "EdDSA": (EDDSA.sign({}, claims()), ALG),
    "EdDSA that says HS256": (EDDSA.sign({"alg": "HS256"}, claims()), SIGNATURE),
    "another secret": (hmac_token(PREVIOUS, HS256, claims()), SIGNATURE),
    "an empty secret": (hmac_token("", HS256, claims()), SIGNATURE),
    "the digest of HS384": (hmac_token(SECRET, HS256, claims(), "sha384"), SIGNATURE),
    "a truncated signature": (good_token()[:-4], SIGNATURE),
    "a signature of other letters": (non_canonical(), SIGNATURE),
    "another payload": (swap_payload(), SIGNATURE),
    "another header": (swap_header(), SIGNATURE),
    "expired and forged": (hmac_token(PREVIOUS, HS256, claims(exp=1)), SIGNATURE),
    "crit": (header_like(crit=["exp"]), HEADER),
    "crit empty": (header_like(crit=[]), HEADER),
    "crit b64": (header_like(crit=["b64"], b64=True), HEADER),
    "b64 false": (header_like(b64=False), HEADER),
    "b64 false in crit": (header_like(crit=["b64"], b64=False), HEADER),
    "b64 zero": (header_like(b64=0), HEADER),
    "kid that is a number": (header_like(kid=1), HEADER),
    "kid that is null": (header_like(kid=None), HEADER),
}


@pytest.mark.parametrize(("token", "reason"), FORGED.values(), ids=FORGED.keys())
async def test_a_forged_or_broken_token_is_refused_with_the_reason(token: str, reason: str) -> None:
    verifier = Verifier(secret_settings())
    assert reason in await refusal_of(verifier, token)
    assert not verifier._cache


# With a key set


async def test_keys_and_addresses_that_a_token_brings_along_are_ignored(issuer: Issuer, verifier: Verifier) -> None:
    issuer.keys = [EDDSA]
    own = eddsa_key(kid="e")
    url = "http://127.0.0.1:9/keys"
    for extra in ({"jwk": own.jwk}, {"jku": url}, {"x5u": url}, {"x5c": ["MIIB"], "x5t": "x"}):
        assert SIGNATURE in await refusal_of(verifier, own.sign(extra, claims()))
        assert await verifier.verify(EDDSA.sign(extra, claims())) == "ada"
    assert issuer.requests == 1


def confused_tokens() -> dict[str, tuple[str, str]]:
    """What a forger can make who knows the public keys, and has a key that the issuer publishes for other uses."""
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
                name = f"{key.algorithm} {form} as a secret, says {alg}"
                forged[name] = hmac_token(secret, header, claims()), reason
    return {
        **forged,
        "alg none": (SIGNED_BY_NOBODY + ".AA", ALG),
        "kid of another key": (EDDSA.sign({"kid": "e2"}, claims()), SIGNATURE),
        "kid of a key of another kind": (EDDSA.sign({"kid": "r"}, claims()), SIGNATURE),
        "alg of another key": (RS256.sign({"alg": "EdDSA", "kid": "e"}, claims()), SIGNATURE),
        "alg that the key hasn't": (RS256.sign({"alg": "ES256"}, claims()), SIGNATURE),
        "RS384": (RS256.sign({"alg": "RS384"}, claims()), ALG),
        "PS256": (RS256.sign({"alg": "PS256"}, claims()), ALG),
        "ES256K": (ES256.sign({"alg": "ES256K"}, claims()), ALG),
        "an unknown kid": (EDDSA.sign({"kid": "../../dev/null"}, claims()), SIGNATURE),
        "an empty kid": (EDDSA.sign({"kid": ""}, claims()), SIGNATURE),
        "no signature to speak of": (EDDSA.sign({}, claims()).rpartition(".")[0] + ".AA", SIGNATURE),
        "a zero signature": (ES256.sign({}, claims()).rpartition(".")[0] + "." + "A" * 86, SIGNATURE),
        "a secret": (good_token(), ALG),
        "expired": (EDDSA.sign({}, claims(exp=NOW)), "has expired"),
    }


CONFUSED = confused_tokens()


@pytest.mark.parametrize(("token", "reason"), CONFUSED.values(), ids=CONFUSED.keys())
async def test_keys_and_algorithms_cannot_be_confused(
    issuer: Issuer, verifier: Verifier, token: str, reason: str
) -> None:
    issuer.keys = [EDDSA, EDDSA_2, ES256, RS256]
    assert reason in await refusal_of(verifier, token)


async def test_an_algorithm_that_is_not_pinned_is_refused_though_its_key_is_published(
    issuer: Issuer, issuer_url: str
) -> None:
    issuer.keys = [EDDSA, RS256]
    verifier = Verifier(key_set_settings(issuer_url, jwt_algorithms=("EdDSA",)))
    assert await verifier.verify(EDDSA.sign({}, claims())) == "ada"
    assert ALG in await refusal_of(verifier, RS256.sign({}, claims()))
    assert SIGNATURE in await refusal_of(verifier, RS256.sign({"alg": "EdDSA"}, claims()))


UNUSABLE_MEMBERS: list[tuple[SigningKey, dict[str, Any]]] = [
    (EDDSA, {"use": "enc"}),
    (RS256, {"use": "enc"}),
    (EDDSA, {"key_ops": ["sign"]}),
    (EDDSA, {"key_ops": []}),
    (EDDSA, {"key_ops": None}),
    (RS256, {"key_ops": ["encrypt"]}),
    (RS256, {"alg": "RS512"}),
    (RS256, {"alg": "HS256"}),
    (RS256, {"alg": "none"}),
    (EDDSA, {"alg": None}),
    (EDDSA, {"kty": "oct", "k": "AAAA"}),
    (EDDSA, {"crv": "Ed448"}),
    (EDDSA, {"crv": "X25519"}),
    (EDDSA, {"crv": ["Ed25519"]}),
    (EDDSA, {"x": "AA"}),
    (EDDSA, {"x": None}),
    (EDDSA, {"d": "AA"}),
    (ES256, {"crv": "P-384"}),
    (ES256, {"x": "A" * 43}),
    (RS256, {"n": 1}),
    (RS256, {"n": ""}),
    (RS256, {"kty": None}),
]
UNUSABLE = {
    **{f"{key.algorithm} with {json.dumps(members)}": jwk_like(key, **members) for key, members in UNUSABLE_MEMBERS},
    "RS256 of 1024 bits": SMALL_RS256,
    **{f"{key.algorithm} with its private half": key.published_by_mistake() for key in (EDDSA, ES256, RS256)},
}


@pytest.mark.parametrize("key", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_an_unusable_key_is_skipped_and_spoils_no_other(
    issuer: Issuer, verifier: Verifier, key: SigningKey
) -> None:
    other = es256_key(kid="other")
    issuer.keys = [key, other]
    assert await verifier.verify(other.sign({}, claims())) == "ada"
    assert SIGNATURE in await refusal_of(verifier, key.sign({}, claims()))


@pytest.mark.parametrize(
    "members", [{"use": "sig"}, {"key_ops": ["verify"]}, {"alg": "EdDSA"}, {"ext": True, "x5c": []}]
)
async def test_a_key_that_says_that_it_verifies_is_used(
    issuer: Issuer, verifier: Verifier, members: dict[str, Any]
) -> None:
    issuer.keys = [jwk_like(EDDSA, **members)]
    assert await verifier.verify(EDDSA.sign({}, claims())) == "ada"


async def test_an_octet_key_is_no_secret(issuer: Issuer, verifier: Verifier) -> None:
    shared = jwk_like(EDDSA, kid="s", kty="oct", k=base64url(SECRET.encode()).decode())
    issuer.keys = [EDDSA, shared]
    for alg, reason in (("HS256", ALG), ("EdDSA", SIGNATURE)):
        assert reason in await refusal_of(verifier, hmac_token(SECRET, {"alg": alg, "kid": "s"}, claims()))
