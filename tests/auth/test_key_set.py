"""The issuer's key set: which of its keys are used, and which key verifies a token."""

import json
from typing import Any

import pytest

from tests.support.issuer import Issuer, SigningKey, base64url, eddsa_key, es256_key, hmac_token
from tests.support.tokens import (
    ALG,
    EDDSA,
    EDDSA_2,
    ES256,
    RS256,
    SECRET,
    SIGNATURE,
    SMALL_RS256,
    assert_unavailable,
    claims,
    key_set_settings,
    refusal_of,
)
from todo_service.auth.tokens import Verifier


def with_members(key: SigningKey, **members: Any) -> SigningKey:
    """The same key, published with these members."""
    return SigningKey(key.algorithm, key.private, **{**key.jwk, **members})


# The key that verifies a token


@pytest.mark.parametrize("key", [EDDSA, ES256, RS256], ids=lambda key: key.algorithm)
@pytest.mark.parametrize("named", [True, False], ids=["kid", "no kid"])
async def test_a_token_of_each_algorithm_is_verified_with_its_key(
    issuer: Issuer, verifier: Verifier, key: SigningKey, named: bool
) -> None:
    plain = SigningKey(key.algorithm, key.private)
    issuer.keys = (
        [EDDSA, ES256, RS256] if named else [SigningKey(k.algorithm, k.private) for k in (EDDSA, ES256, RS256)]
    )
    assert await verifier.verify((key if named else plain).sign({}, claims())) == "ada"


async def test_a_token_without_a_kid_is_verified_with_any_key_of_its_algorithm(
    issuer: Issuer, verifier: Verifier
) -> None:
    issuer.keys = [ES256, EDDSA, EDDSA_2]
    plain = SigningKey("EdDSA", EDDSA_2.private)
    assert await verifier.verify(plain.sign({}, claims())) == "ada"


async def test_all_keys_with_the_kid_of_a_token_are_tried(issuer: Issuer, verifier: Verifier) -> None:
    twin = eddsa_key(kid="p")
    issuer.keys = [ES256, twin]
    assert await verifier.verify(ES256.sign({}, claims())) == "ada"
    assert await verifier.verify(twin.sign({}, claims())) == "ada"


async def test_a_token_gets_503_if_no_key_has_a_configured_algorithm(issuer: Issuer, issuer_url: str) -> None:
    issuer.keys = [RS256, ES256]
    verifier = Verifier(key_set_settings(issuer_url, jwt_algorithms=("EdDSA",)))
    await assert_unavailable(verifier, EDDSA.sign({}, claims()))


# Keys that are used or skipped


async def test_a_published_key_of_an_algorithm_that_is_not_configured_is_not_used(
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
    **{
        f"{key.algorithm} with {json.dumps(members)}": with_members(key, **members) for key, members in UNUSABLE_MEMBERS
    },
    "RS256 of 1024 bits": SMALL_RS256,
    **{f"{key.algorithm} with its private half": key.published_by_mistake() for key in (EDDSA, ES256, RS256)},
}


@pytest.mark.parametrize("key", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_an_unusable_key_is_skipped_and_the_other_keys_are_used(
    issuer: Issuer, verifier: Verifier, key: SigningKey
) -> None:
    other = es256_key(kid="other")
    issuer.keys = [key, other]
    assert await verifier.verify(other.sign({}, claims())) == "ada"
    assert SIGNATURE in await refusal_of(verifier, key.sign({}, claims()))


@pytest.mark.parametrize(
    "members", [{"use": "sig"}, {"key_ops": ["verify"]}, {"alg": "EdDSA"}, {"ext": True, "x5c": []}]
)
async def test_a_key_that_is_marked_for_verification_is_used(
    issuer: Issuer, verifier: Verifier, members: dict[str, Any]
) -> None:
    issuer.keys = [with_members(EDDSA, **members)]
    assert await verifier.verify(EDDSA.sign({}, claims())) == "ada"


async def test_a_symmetric_key_in_the_key_set_is_not_used(issuer: Issuer, verifier: Verifier) -> None:
    shared = with_members(EDDSA, kid="s", kty="oct", k=base64url(SECRET.encode()).decode())
    issuer.keys = [EDDSA, shared]
    for alg, reason in (("HS256", ALG), ("EdDSA", SIGNATURE)):
        assert reason in await refusal_of(verifier, hmac_token(SECRET, {"alg": alg, "kid": "s"}, claims()))
