"""Tokens (RFC 7519): verifies and signs them, and caches the valid ones until they expire."""

import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from contextlib import suppress
from hashlib import sha256
from math import inf
from typing import Any

import jwt
from aiohttp import hdrs

from todo_service import strict_json
from todo_service.auth.key_set import KeySet
from todo_service.problems import Problem
from todo_service.settings import Settings

REALM = 'Bearer realm="todo-service"'
COMPACT_FORM = re.compile(r"([\w-]+)\.[\w-]+\.[\w-]+", re.ASCII)  # RFC 7515, section 7.1; base64url is never padded
MAX_TOKEN_LENGTH = 8192  # limits the work that clients without a valid token can cause
USABLE_ID = re.compile(r"[^\0\ud800-\udfff]{1,255}")  # text that PostgreSQL can store
CLOCK_SKEW_SECONDS = 5  # how far the clock of an issuer may be ahead, even if JWT_LEEWAY is less
MAX_CACHED_TOKENS = 10_000
CACHE_MISS = ("", -inf)
JWS = jwt.PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})


def invalid_token(detail: str) -> Problem:
    """The Problem of a refused token. `detail` is ASCII without quotes and backslashes (RFC 6750, section 3)."""
    challenge = f'{REALM}, error="invalid_token", error_description="{detail}"'
    return Problem("unauthorized", detail, headers={hdrs.WWW_AUTHENTICATE: challenge})


class Verifier:
    """Verifies tokens with the secrets or the issuer's key set, and caches the valid ones until they expire."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cache: OrderedDict[bytes, tuple[str, float]] = OrderedDict()  # digest -> user_id, expiry in Unix time
        secrets = [urlsafe_b64encode(s.encode()).decode() for s in (settings.jwt_secret, settings.jwt_secret_previous)]
        self._secrets = [jwt.PyJWK({"kty": "oct", "k": secret}, "HS256") for secret in secrets if secret]
        self._key_set = KeySet(settings, on_change=self._cache.clear) if settings.jwt_jwks_url else None

    def cached_user_id(self, token: str) -> str | None:
        """The `sub` of a token that is in the cache and has not expired."""
        if self._key_set:
            self._key_set.refetch_when_old()  # for cached tokens, too: their key may have been revoked
        digest = _digest(token)
        user_id, end = self._cache.get(digest, CACHE_MISS)
        if time.time() >= end:
            return None
        self._cache.move_to_end(digest)
        return user_id

    async def verify(self, token: str) -> str:
        """The token's `sub`: 1 to 255 characters that PostgreSQL can store.

        Raises Problem: `unauthorized` if the token is not valid, `unavailable` if no key set has been fetched yet.
        """
        if user_id := self.cached_user_id(token):
            return user_id
        try:
            user_id, end = await self._check(token)
        except ValueError:  # base64 or JSON
            form = f"`header.payload.signature`, at most {MAX_TOKEN_LENGTH} characters"
            raise invalid_token(f"The token is malformed; it must be a signed JSON Web Token, {form}.") from None
        self._cache[_digest(token)] = user_id, end
        if len(self._cache) > MAX_CACHED_TOKENS:
            self._cache.popitem(last=False)
        return user_id

    async def _check(self, token: str) -> tuple[str, float]:
        header = _read_header(token, self._settings.algorithms)
        for key in await self._key_set.candidates(header) if self._key_set else self._secrets:
            with suppress(jwt.PyJWTError):
                parts = JWS.decode_complete(token, key, algorithms=[key.algorithm_name])
                return _check_claims(_read_json(parts["payload"]), self._settings)
        detail = "The token's signature is wrong, or this service does not trust its key; get a new token."
        raise invalid_token(detail)

    async def close(self) -> None:
        """Cancels a fetch of the key set."""
        if self._key_set:
            await self._key_set.close()


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()


def _read_header(token: str, algorithms: tuple[str, ...]) -> dict[str, Any]:
    """The header, not verified yet: it only selects the keys to try. Raises ValueError or Problem."""
    match = COMPACT_FORM.fullmatch(token)
    if not match or len(token) > MAX_TOKEN_LENGTH:
        raise ValueError("not in compact form")
    header = _read_json(urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))
    if "crit" in header or header.get("b64", True) is not True or not isinstance(header.get("kid", ""), str):
        raise invalid_token("The token's header must not have `crit` or `b64`, and its `kid` must be text.")
    if header.get("alg") not in algorithms:
        raise invalid_token(f"The token's `alg` is not accepted; it must be signed with {' or '.join(algorithms)}.")
    return header


def _check_claims(claims: dict[str, Any], settings: Settings) -> tuple[str, float]:
    """The token's `sub`, and its expiry in Unix time (RFC 7519, section 4.1). Raises Problem.

    PyJWT is less strict: it accepts `exp` and `nbf` as text, an `aud` that is null or an empty list, and a `sub` that
    PostgreSQL can't store. Clients use a token at once, so the service must not refuse new tokens of an issuer whose
    clock is some seconds ahead: `nbf` may be a little later than now, and `iat` is ignored.
    """
    now, leeway = time.time(), settings.jwt_leeway
    exp: Any = claims.get("exp")
    nbf: Any = claims.get("nbf", 0)
    aud, sub = claims.get("aud"), claims.get("sub")
    if any(type(value) not in (int, float) or not -inf < value < inf for value in (exp, nbf)):
        raise invalid_token("The token must have an `exp`, and `exp` and `nbf` must be numbers: seconds since 1970.")
    if now >= exp + leeway:
        raise invalid_token("The token has expired; get a new one.")
    if now < nbf - max(leeway, CLOCK_SKEW_SECONDS):
        raise invalid_token("The token is not valid yet; wait until the time in its `nbf`.")
    if settings.jwt_issuer and claims.get("iss") != settings.jwt_issuer:
        raise invalid_token("The token's `iss` is not the issuer that this service trusts.")
    if not settings.jwt_audience and "aud" in claims:
        raise invalid_token("The token has an `aud`, but this service accepts only tokens without one.")
    if settings.jwt_audience and settings.jwt_audience not in (aud if isinstance(aud, list) else [aud]):
        raise invalid_token("The token's `aud` does not name this service.")
    if not isinstance(sub, str) or not USABLE_ID.fullmatch(sub):
        raise invalid_token("The token's `sub` must be the user's id: text of 1 to 255 characters, without NUL.")
    return sub, exp + leeway


def _read_json(text: bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError."""
    document = strict_json.parse(text)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - malformed, like all other errors here
    return document


def sign_token(secret: str, user_id: str, days: int, *, issuer: str = "", audience: str = "") -> str:
    """A token (HS256) for the user, valid for 1 to 3650 days, with `iss` and `aud` if they are given.

    Raises ValueError if the service would refuse the user id, or if `days` is not in this range. The error's message is
    a sentence.
    """
    if not USABLE_ID.fullmatch(user_id):
        raise ValueError("A user id must be text of 1 to 255 characters, without NUL.")
    if not 1 <= days <= 3650:
        raise ValueError("A token must be valid for 1 to 3650 days.")
    now = int(time.time())
    claims = {"sub": user_id, "iat": now, "exp": now + days * 86_400, "iss": issuer, "aud": audience}
    return jwt.encode({name: value for name, value in claims.items() if value}, secret, algorithm="HS256")
