"""Tokens with a correct signature: which claims they must have, how long they are cached, and how they are signed."""

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from tests.support.issuer import hmac_token
from tests.support.tokens import (
    EXP,
    HS256,
    MALFORMED,
    NOW,
    PREVIOUS,
    SECRET,
    SIGNATURE,
    Clock,
    claims,
    refusal_of,
    secret_settings,
    token_with_header,
    valid_token,
)
from todo_service.auth import tokens as auth_tokens
from todo_service.auth.tokens import Verifier, sign_token

# Claims


NBF, SUB = "not valid yet", "`sub` must be the user's id"

INVALID_CLAIMS = {
    "exp missing": ({"exp": ...}, EXP),
    "exp null": ({"exp": None}, EXP),
    "exp a string": ({"exp": "1900000000"}, EXP),
    "exp true": ({"exp": True}, EXP),
    "exp a list": ({"exp": [1_900_000_000]}, EXP),
    "exp Infinity": ({"exp": float("inf")}, MALFORMED),
    "exp NaN": ({"exp": float("nan")}, MALFORMED),
    "nbf in the future": ({"nbf": NOW + 6}, NBF),
    "nbf a string": ({"nbf": "1"}, EXP),
    "nbf null": ({"nbf": None}, EXP),
    "nbf false": ({"nbf": False}, EXP),
    "nbf -Infinity": ({"nbf": float("-inf")}, MALFORMED),
    "aud without a configured one": ({"aud": "todo"}, "has an `aud`"),
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


@pytest.mark.parametrize(("values", "reason"), INVALID_CLAIMS.values(), ids=INVALID_CLAIMS.keys())
async def test_a_token_with_invalid_claims_is_refused_with_the_reason(values: dict[str, Any], reason: str) -> None:
    verifier = Verifier(secret_settings())
    assert reason in await refusal_of(verifier, valid_token(**values))
    assert not verifier._cache


@pytest.mark.parametrize("exp", [NOW - 1, NOW, -(10**398)], ids=["a second ago", "at this moment", "long ago"])
async def test_an_expired_token_gets_401(exp: float) -> None:
    verifier = Verifier(secret_settings())
    assert "has expired" in await refusal_of(verifier, valid_token(exp=exp))
    assert not verifier._cache


async def test_an_exp_that_overflows_is_refused() -> None:
    token = hmac_token(SECRET, HS256, b'{"sub":"ada","exp":1e400}')
    assert EXP in await refusal_of(Verifier(secret_settings()), token)


@pytest.mark.parametrize(
    "values",
    [
        {"exp": NOW + 0.5},
        {"exp": 10**398},
        {"exp": 1e308},
        {"nbf": NOW},
        {"nbf": NOW + 5},
        {"nbf": 0},
        {"iat": NOW + 100},
        {"iat": "yesterday"},
        {"jti": 1},
        {"iss": "anyone"},
        {"iss": ["x"]},
        {"sub": "🦜" * 255},
        {"sub": " \n"},
        {"admin": True},
        {"user_id": "eve"},
        {"sub ": "eve"},
        {"Sub": "eve"},
        {"scope": "*"},
    ],
    ids=lambda values: str(values)[:40],
)
async def test_a_token_with_valid_claims_is_accepted_and_unknown_claims_are_ignored(values: dict[str, Any]) -> None:
    expected = claims(**values)["sub"]
    assert await Verifier(secret_settings()).verify(valid_token(**values)) == expected


async def test_a_token_of_8192_characters_is_accepted_and_a_longer_one_is_refused() -> None:
    tokens = {len(token): token for token in (valid_token(padding="x" * count) for count in range(5900, 6200))}
    assert await Verifier(secret_settings()).verify(tokens[8192]) == "ada"
    assert MALFORMED in await refusal_of(Verifier(secret_settings()), tokens[min(set(tokens) & {8193, 8194})])


@pytest.mark.parametrize(
    "members",
    [
        {"zip": "none"},
        {"cty": "JWT"},
        {"typ": "at+jwt"},
        {"typ": ["JWT"]},
        {"kid": "legacy"},
        {"kid": "' OR 1=1"},
        {"x": {"y": 1}},
    ],
    ids=str,
)
async def test_unknown_header_members_and_a_kid_are_ignored_with_a_secret(members: dict[str, Any]) -> None:
    assert await Verifier(secret_settings()).verify(token_with_header(**members)) == "ada"


@pytest.mark.parametrize(("leeway", "seconds"), [(0, 5), (3, 5), (5, 5), (6, 6), (300, 300)])
async def test_nbf_is_forgiven_for_5_seconds_or_the_leeway_if_that_is_more(
    clock: Clock, leeway: int, seconds: int
) -> None:
    verifier = Verifier(secret_settings(jwt_leeway=leeway))
    token = valid_token(nbf=NOW + seconds)
    clock.now = NOW - 0.5
    assert NBF in await refusal_of(verifier, token)
    clock.now = NOW
    assert await verifier.verify(token) == "ada"


async def test_without_a_leeway_a_token_is_refused_from_its_exp_on(clock: Clock) -> None:
    verifier = Verifier(secret_settings())
    token = valid_token(exp=NOW + 1)
    assert await verifier.verify(token) == "ada"
    clock.now = NOW + 1
    assert "has expired" in await refusal_of(verifier, token)


async def test_exp_and_nbf_are_checked_with_exactly_the_leeway(clock: Clock) -> None:
    verifier = Verifier(secret_settings(jwt_leeway=10))
    token = valid_token(exp=NOW, nbf=NOW)
    clock.now = NOW - 10.5
    assert NBF in await refusal_of(verifier, token)
    for clock.now in (NOW - 10, NOW + 9.5):
        assert await verifier.verify(token) == "ada"
        assert await verifier.verify(valid_token(exp=NOW, nbf=NOW, jti=str(clock.now))) == "ada"
    clock.now = NOW + 10
    assert "has expired" in await refusal_of(verifier, token)


@pytest.mark.parametrize("iss", [..., None, "", "https://evil.example", "https://id.example/", ["https://id.example"]])
async def test_a_token_of_another_issuer_is_refused(iss: object) -> None:
    verifier = Verifier(secret_settings(jwt_issuer="https://id.example"))
    assert await verifier.verify(valid_token(iss="https://id.example")) == "ada"
    detail = await refusal_of(verifier, valid_token(iss=iss))
    assert "`iss`" in detail
    assert "id.example" not in detail


@pytest.mark.parametrize("aud", [..., None, "", [], "tod", "todo ", ["mail"], {"todo": 1}, 1, [["todo"]]])
async def test_a_token_for_another_audience_is_refused(aud: object) -> None:
    verifier = Verifier(secret_settings(jwt_audience="todo"))
    assert "`aud` does not name this service" in await refusal_of(verifier, valid_token(aud=aud))


@pytest.mark.parametrize("aud", ["todo", ["todo"], ["mail", "todo"], ["todo", None]])
async def test_a_token_for_this_audience_is_accepted(aud: object) -> None:
    assert await Verifier(secret_settings(jwt_audience="todo")).verify(valid_token(aud=aud)) == "ada"


# Secrets


async def test_the_previous_secret_verifies_tokens_while_it_is_set() -> None:
    token = hmac_token(PREVIOUS, HS256, claims())
    both = Verifier(secret_settings(jwt_secret_previous=PREVIOUS))
    assert [await both.verify(token), await both.verify(valid_token())] == ["ada", "ada"]
    assert SIGNATURE in await refusal_of(Verifier(secret_settings()), token)


async def test_a_secret_that_is_shorter_than_32_bytes_verifies_no_token() -> None:
    verifier = Verifier(secret_settings(jwt_secret="short"))
    assert SIGNATURE in await refusal_of(verifier, hmac_token("short", HS256, claims()))


# The cache


async def test_a_cached_token_is_accepted_unchecked_until_it_expires(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = Verifier(secret_settings(jwt_leeway=10))
    token = valid_token(exp=NOW + 50)
    await verifier.verify(token)
    with monkeypatch.context() as patch:
        patch.setattr(verifier, "_check", None)  # calling it would fail
        clock.now = NOW + 59.9
        assert await verifier.verify(token) == "ada"
    clock.now = NOW + 60
    assert "has expired" in await refusal_of(verifier, token)


async def test_the_least_recently_used_token_leaves_the_cache_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auth_tokens.MAX_CACHED_TOKENS == 10_000
    monkeypatch.setattr(auth_tokens, "MAX_CACHED_TOKENS", 3)
    verifier = Verifier(secret_settings())
    for user in ("ada", "bob", "cyd", "ada", "dan"):
        assert await verifier.verify(valid_token(sub=user)) == user
    assert [user for user, _ in verifier._cache.values()] == ["cyd", "ada", "dan"]


async def test_the_cache_contains_digests_instead_of_tokens() -> None:
    verifier = Verifier(secret_settings())
    token = valid_token()
    await verifier.verify(token)
    [digest] = verifier._cache
    assert len(digest) == 32
    assert token.encode() not in digest


# Signing


async def test_a_signed_token_is_valid_for_its_days(clock: Clock) -> None:
    verifier = Verifier(secret_settings(jwt_issuer="https://id.example", jwt_audience="todo"))
    token = sign_token(SECRET, "ada", 2, issuer="https://id.example", audience="todo")
    assert await verifier.verify(token) == "ada"
    clock.now = NOW + 2 * 86_400
    assert "has expired" in await refusal_of(verifier, token)


async def test_a_signed_token_has_only_the_claims_sub_iat_and_exp() -> None:
    token = sign_token(SECRET, "ada", 1)
    payload = token.split(".")[1]
    assert json.loads(urlsafe_b64decode(payload + "==")) == {"sub": "ada", "iat": NOW, "exp": NOW + 86_400}
    assert await Verifier(secret_settings()).verify(token) == "ada"


@pytest.mark.parametrize("user_id", ["", "a" * 256, "a\0", "\udcff"])
def test_a_token_for_an_invalid_user_id_is_not_signed(user_id: str) -> None:
    with pytest.raises(ValueError, match=r"^A user id must be .*\.$"):
        sign_token(SECRET, user_id, 1)


@pytest.mark.parametrize("days", [-1, 0, 3651])
def test_a_token_for_less_than_1_or_more_than_3650_days_is_not_signed(days: int) -> None:
    with pytest.raises(ValueError, match=r"1 to 3650 days\.$"):
        sign_token(SECRET, "ada", days)
