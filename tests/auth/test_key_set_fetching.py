"""Fetching the issuer's key set: when it is fetched, and which keys are used while the issuer is unreachable."""

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from tests.support.issuer import Issuer, SigningKey
from tests.support.processes import free_port
from tests.support.tokens import (
    EDDSA,
    EDDSA_2,
    ES256,
    MALFORMED,
    NOW,
    SIGNATURE,
    SMALL_RS256,
    Clock,
    assert_unavailable,
    bearer,
    claims,
    client_for,
    key_set_settings,
    refusal_of,
)
from todo_service.auth import key_set
from todo_service.auth.middleware import VERIFIER, verifier_context
from todo_service.auth.tokens import Verifier


async def wait_for_fetch(verifier: Verifier) -> None:
    """Waits for the fetch in the background."""
    assert verifier._key_set is not None
    assert verifier._key_set._fetch is not None
    await verifier._key_set._fetch


# When keys are fetched


async def test_the_first_well_formed_token_fetches_the_keys_once(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA]
    assert MALFORMED in await refusal_of(verifier, "x")
    assert issuer.requests == 0
    for clock.now in (NOW, NOW + 1, NOW + 59):
        assert await verifier.verify(EDDSA.sign({"n": clock.now}, claims())) == "ada"
        await wait_for_fetch(verifier)
    assert issuer.requests == 1


async def test_cached_tokens_are_removed_only_when_the_keys_change(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA, ES256]
    revoked, kept = EDDSA.sign({}, claims(exp=NOW + 9999)), ES256.sign({}, claims(exp=NOW + 9999))
    assert [await verifier.verify(revoked), await verifier.verify(kept)] == ["ada", "ada"]
    for keys, cached in (([EDDSA, ES256], 2), ([ES256], 0)):
        issuer.keys = keys
        clock.now += 601
        assert await verifier.verify(revoked) == "ada"  # the old keys are used while newer ones are fetched
        await wait_for_fetch(verifier)
        assert len(verifier._cache) == cached
    assert SIGNATURE in await refusal_of(verifier, revoked)
    assert await verifier.verify(kept) == "ada"


async def test_an_unknown_kid_fetches_the_keys_at_most_every_30_seconds(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA]
    await verifier.verify(EDDSA.sign({}, claims()))
    issuer.keys = [EDDSA, EDDSA_2]
    clock.now = NOW + 29
    assert SIGNATURE in await refusal_of(verifier, EDDSA_2.sign({}, claims()))
    assert issuer.requests == 1
    clock.now = NOW + 30
    assert await verifier.verify(EDDSA_2.sign({}, claims())) == "ada"
    assert issuer.requests == 2
    for _ in range(3):
        assert SIGNATURE in await refusal_of(verifier, EDDSA.sign({"kid": "unknown"}, claims()))
    assert issuer.requests == 2


async def test_a_token_of_an_algorithm_without_a_key_fetches_the_keys(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA]
    await verifier.verify(EDDSA.sign({}, claims()))
    issuer.keys = [SigningKey("ES256", ES256.private)]
    clock.now = NOW + 30
    assert await verifier.verify(issuer.keys[0].sign({}, claims())) == "ada"


async def test_a_forged_signature_does_not_fetch_the_keys(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    issuer.keys = [EDDSA]
    await verifier.verify(EDDSA.sign({}, claims()))
    clock.now = NOW + 31
    assert SIGNATURE in await refusal_of(verifier, EDDSA_2.sign({"kid": "e"}, claims()))
    assert issuer.requests == 1


async def test_a_failed_fetch_keeps_the_old_keys_and_is_not_repeated_for_30_seconds(
    issuer: Issuer, verifier: Verifier, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.keys = [EDDSA]
    await verifier.verify(EDDSA.sign({}, claims()))
    issuer.override = response_with(b"a secret of the issuer", 500)
    for clock.now, requests in ((NOW + 30, 2), (NOW + 31, 2), (NOW + 59, 2)):
        assert SIGNATURE in await refusal_of(verifier, EDDSA_2.sign({}, claims()))
        assert await verifier.verify(EDDSA.sign({"n": clock.now}, claims())) == "ada"
        assert issuer.requests == requests
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "The issuer's key set could not be fetched: ValueError: the status is 500"


def response_with(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Callable[[], web.Response]:
    return partial(web.Response, status=status, body=body, headers=headers)


VALID_SET = json.dumps({"keys": [EDDSA_2.jwk]}).encode()
INVALID = {
    "empty": response_with(b""),
    "HTML": response_with(b"<html>Sign in</html>"),
    "not UTF-8": response_with(b"\xff\xff"),
    "a list": response_with(json.dumps([EDDSA_2.jwk]).encode()),
    "a number": response_with(b"1"),
    "no keys member": response_with(json.dumps(EDDSA_2.jwk).encode()),
    "keys null": response_with(b'{"keys":null}'),
    "keys a number": response_with(b'{"keys":1}'),
    "keys that are a string": response_with(b'{"keys":"EdDSA"}'),
    "no key": response_with(b'{"keys":[]}'),
    "no object among the keys": response_with(b'{"keys":[null,1,"x",[],true]}'),
    "no usable key": response_with(json.dumps({"keys": [SMALL_RS256.jwk]}).encode()),
    "nested deeply": response_with(b"[" * 100_000),
    "too large": response_with(VALID_SET + b" " * (1 << 20)),
    "Content-Encoding without compression": response_with(VALID_SET, headers={"Content-Encoding": "gzip"}),
    "an error with keys": response_with(VALID_SET, 503),
    "no content": response_with(b"", 204),
    "a redirect": response_with(VALID_SET, 302, {"Location": "/elsewhere"}),
}


@pytest.mark.parametrize("response", INVALID.values(), ids=INVALID.keys())
async def test_an_invalid_key_set_is_logged_and_the_old_keys_stay_in_use(
    issuer: Issuer,
    verifier: Verifier,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    response: Callable[[], web.Response],
) -> None:
    issuer.keys = [EDDSA]
    token = EDDSA.sign({}, claims(exp=NOW + 9999))
    await verifier.verify(token)
    issuer.keys = [EDDSA_2]
    issuer.override = response
    clock.now = NOW + 601
    await verifier.verify(token)
    await wait_for_fetch(verifier)
    assert issuer.requests == 2
    assert await verifier.verify(EDDSA.sign({"n": 2}, claims(exp=NOW + 9999))) == "ada"
    [record] = caplog.records
    assert "could not be fetched" in record.getMessage()
    assert len(record.getMessage()) < 300


async def test_a_key_set_of_the_maximum_size_is_used(issuer: Issuer, verifier: Verifier) -> None:
    issuer.override = response_with(VALID_SET + b" " * ((1 << 20) - len(VALID_SET)))
    assert await verifier.verify(EDDSA_2.sign({}, claims())) == "ada"


async def test_a_cached_token_refetches_old_keys_in_the_background(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA]
    token = EDDSA.sign({}, claims(exp=NOW + 9999))
    await verifier.verify(token)
    clock.now = NOW + 600
    await verifier.verify(token)
    await wait_for_fetch(verifier)
    assert issuer.requests == 1
    issuer.open.clear()  # from now on, the issuer sends no response
    issuer.arrived.clear()
    clock.now = NOW + 601
    for _ in range(3):
        assert await verifier.verify(token) == "ada"
    await issuer.arrived.wait()
    issuer.open.set()
    await wait_for_fetch(verifier)
    assert issuer.requests == 2


async def test_a_failed_refetch_of_old_keys_is_repeated_after_30_seconds(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA]
    token = EDDSA.sign({}, claims(exp=NOW + 9999))
    await verifier.verify(token)
    issuer.override = response_with(b"", 502)
    for clock.now, requests in ((NOW + 601, 2), (NOW + 602, 2), (NOW + 630, 2), (NOW + 631, 3)):
        assert await verifier.verify(token) == "ada"
        await wait_for_fetch(verifier)
        assert issuer.requests == requests


async def test_concurrent_requests_share_one_fetch(issuer: Issuer, verifier: Verifier) -> None:
    issuer.keys = [EDDSA]
    issuer.open.clear()
    tokens = [EDDSA.sign({}, claims(sub=f"user {n}")) for n in range(20)]
    requests = [asyncio.create_task(verifier.verify(token)) for token in tokens]
    await issuer.arrived.wait()
    issuer.open.set()
    assert await asyncio.gather(*requests) == [f"user {n}" for n in range(20)]
    assert issuer.requests == 1


async def test_a_cancelled_request_does_not_cancel_the_shared_fetch(issuer: Issuer, verifier: Verifier) -> None:
    issuer.keys = [EDDSA]
    issuer.open.clear()
    first = asyncio.create_task(verifier.verify(EDDSA.sign({}, claims(sub="first"))))
    second = asyncio.create_task(verifier.verify(EDDSA.sign({}, claims(sub="second"))))
    await issuer.arrived.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    issuer.open.set()
    assert await second == "second"
    assert issuer.requests == 1


async def test_without_keys_requests_get_503_and_the_service_fetches_once_a_second(
    issuer: Issuer, issuer_url: str, aiohttp_client: AiohttpClient, clock: Clock
) -> None:
    client = await client_for(aiohttp_client, key_set_settings(issuer_url))
    issuer.keys = [EDDSA]
    issuer.override = response_with(b"starting")
    token = EDDSA.sign({}, claims())
    for clock.now, requests in ((NOW, 1), (NOW + 0.9, 1), (NOW + 1, 2), (NOW + 1.9, 2)):
        response = await client.get("/api/me", headers=bearer(token))
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert "issuer" in (await response.json(content_type=None))["detail"]
        assert issuer.requests == requests
    issuer.override = None
    clock.now = NOW + 2.9
    response = await client.get("/api/me", headers=bearer(token))
    assert response.status == 200


async def test_a_token_gets_503_if_the_issuer_is_unreachable(caplog: pytest.LogCaptureFixture) -> None:
    verifier = Verifier(key_set_settings(f"http://127.0.0.1:{free_port()}/keys"))
    await assert_unavailable(verifier, EDDSA.sign({}, claims()))
    assert "ClientConnectorError" in caplog.text


async def test_a_token_gets_503_if_the_fetch_times_out(
    issuer: Issuer, verifier: Verifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert key_set.FETCH_TIMEOUT.total == 5
    monkeypatch.setattr(key_set, "FETCH_TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    issuer.keys = [EDDSA]
    issuer.open.clear()
    await assert_unavailable(verifier, EDDSA.sign({}, claims()))
    issuer.open.set()
    assert "TimeoutError" in caplog.text


async def test_stopping_the_service_cancels_the_current_fetch(issuer: Issuer, issuer_url: str) -> None:
    app = web.Application()
    context = verifier_context(key_set_settings(issuer_url))(app)
    await anext(context)
    issuer.open.clear()
    request = asyncio.create_task(app[VERIFIER].verify(EDDSA.sign({}, claims())))
    await issuer.arrived.wait()
    with pytest.raises(StopAsyncIteration):
        await anext(context)
    keys = app[VERIFIER]._key_set
    assert keys is not None
    assert keys._fetch is not None
    assert keys._fetch.cancelled()
    issuer.open.set()
    with pytest.raises(asyncio.CancelledError):
        await request
