"""The issuer's key set (RFC 7517). If the issuer is unreachable, the last keys stay in use."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

import aiohttp
import jwt

from todo_service.problems import RETRY_AFTER, Problem
from todo_service.settings import Settings

log = logging.getLogger(__name__)

KEY_SET_BYTES = 1 << 20
KEY_SET_AGE, REFETCH_PAUSE, FIRST_FETCH_PAUSE = 600, 30, 1  # seconds
FETCH_TIMEOUT = aiohttp.ClientTimeout(total=5)  # seconds
ALGORITHM_OF_KEY = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("RSA", None): "RS256"}  # kty and crv


class KeySet:
    """The issuer's public keys: fetched for the first token, and again if they are old or a token's key is missing."""

    def __init__(self, settings: Settings, on_change: Callable[[], None]) -> None:
        self._url, self._algorithms, self._on_change = settings.jwt_jwks_url, settings.algorithms, on_change
        self._published = b""
        self._keys: list[jwt.PyJWK] = []
        self._fetched = self._attempted = -inf  # when a fetch ended, in monotonic seconds
        self._fetch: asyncio.Task[None] | None = None

    def refetch_when_old(self) -> None:
        """Starts a fetch in the background if the keys are older than KEY_SET_AGE."""
        if self._keys and time.monotonic() - self._fetched > KEY_SET_AGE:
            self._fetch_unless_within(REFETCH_PAUSE)

    async def candidates(self, header: dict[str, Any]) -> list[jwt.PyJWK]:
        """The keys that may have signed a token with this header. Raises Problem if there are no keys yet."""
        if not self._keys:
            await asyncio.shield(self._fetch_unless_within(FIRST_FETCH_PAUSE))
        if not self._keys:
            detail = "Tokens can't be verified now, because their issuer can't be reached; try again in a moment."
            raise Problem("unavailable", detail, headers=RETRY_AFTER)
        if not self._select(header):
            # shielded, because other requests wait for the same fetch
            await asyncio.shield(self._fetch_unless_within(REFETCH_PAUSE))
        return self._select(header)

    def _select(self, header: dict[str, Any]) -> list[jwt.PyJWK]:
        if "kid" in header:
            return [key for key in self._keys if key.key_id == header["kid"]]
        return [key for key in self._keys if key.algorithm_name == header["alg"]]

    def _fetch_unless_within(self, pause: float) -> asyncio.Task[None]:
        """The current fetch, or the last one if it ended less than `pause` seconds ago, or a new one."""
        if not self._fetch or (self._fetch.done() and time.monotonic() - self._attempted >= pause):
            self._fetch = asyncio.create_task(self._fetch_keys())
        return self._fetch

    async def _fetch_keys(self) -> None:
        try:
            published = await _download(self._url)
            keys = _public_keys(published, self._algorithms)
        except Exception as error:  # noqa: BLE001 - after any error, the last keys stay in use
            log.warning("The issuer's key set could not be fetched: %s: %s", type(error).__name__, error)
        else:
            self._fetched = time.monotonic()
            if published != self._published:
                self._published, self._keys = published, keys
                self._on_change()
        self._attempted = time.monotonic()

    async def close(self) -> None:
        """Cancels the current fetch."""
        if self._fetch:
            self._fetch.cancel()
            await asyncio.wait([self._fetch])


async def _download(url: str) -> bytes:
    body = b""
    async with aiohttp.ClientSession(timeout=FETCH_TIMEOUT) as http, http.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"the status is {response.status}")
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > KEY_SET_BYTES:
                raise ValueError(f"it is larger than {KEY_SET_BYTES} bytes")
    return body


def _public_keys(key_set: bytes, algorithms: tuple[str, ...]) -> list[jwt.PyJWK]:
    """The usable keys, each with the one algorithm that follows from its type (RFC 8725, section 3.1)."""
    keys = []
    for jwk in json.loads(key_set)["keys"]:
        with suppress(LookupError, TypeError, jwt.PyJWTError):  # an unusable key is skipped
            algorithm = ALGORITHM_OF_KEY[jwk["kty"], jwk.get("crv")]
            verifies = jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])
            private = "d" in jwk  # a published private key is compromised
            if verifies and not private and algorithm in algorithms and jwk.get("alg", algorithm) == algorithm:
                key = jwt.PyJWK(jwk, algorithm)
                if not key.Algorithm.check_key_length(key.key):
                    keys.append(key)
    if not keys:
        raise ValueError("it has no usable key")
    return keys
