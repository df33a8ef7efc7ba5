"""The issuer's key set: which key verifies a token, when the keys are fetched, and what happens when they can't be."""

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from tests.support.issuer import Issuer, SigningKey, eddsa_key
from tests.support.processes import free_port
from tests.support.tokens import (
    EDDSA,
    EDDSA_2,
    ES256,
    MALFORMED,
    NOW,
    RS256,
    SIGNATURE,
    SMALL_RS256,
    Clock,
    bearer,
    claims,
    client_for,
    key_set_settings,
    refusal_of,
    unavailable,
)
from todo_service.auth import key_set
from todo_service.auth.middleware import VERIFIER, verifier_context
from todo_service.auth.tokens import Verifier


async def fetched(verifier: Verifier) -> None:
    """Waits for the fetch in the background."""
    assert verifier._key_set is not None
    assert verifier._key_set._fetch is not None
    await verifier._key_set._fetch


# Which key


@pytest.mark.parametrize("key", [EDDSA, ES256, RS256], ids=lambda key: key.algorithm)
@pytest.mark.parametrize("named", [True, False], ids=["kid", "no kid"])
async def test_every_algorithm_is_verified_with_its_key(
    issuer: Issuer, verifier: Verifier, key: SigningKey, named: bool
) -> None:
    plain = SigningKey(key.algorithm, key.private)
    issuer.keys = (
        [EDDSA, ES256, RS256] if named else [SigningKey(k.algorithm, k.private) for k in (EDDSA, ES256, RS256)]
    )
    assert await verifier.verify((key if named else plain).sign({}, claims())) == "ada"


async def test_without_a_kid_each_key_of_the_algorithm_is_tried(issuer: Issuer, verifier: Verifier) -> None:
    issuer.keys = [ES256, EDDSA, EDDSA_2]
    plain = SigningKey("EdDSA", EDDSA_2.private)
    assert await verifier.verify(plain.sign({}, claims())) == "ada"


async def test_of_keys_with_the_same_kid_each_is_tried(issuer: Issuer, verifier: Verifier) -> None:
    twin = eddsa_key(kid="p")
    issuer.keys = [ES256, twin]
    assert await verifier.verify(ES256.sign({}, claims())) == "ada"
    assert await verifier.verify(twin.sign({}, claims())) == "ada"


async def test_a_set_without_a_key_for_a_pinned_algorithm_is_as_good_as_none(issuer: Issuer, issuer_url: str) -> None:
    issuer.keys = [RS256, ES256]
    verifier = Verifier(key_set_settings(issuer_url, jwt_algorithms=("EdDSA",)))
    await unavailable(verifier, EDDSA.sign({}, claims()))


# When keys are fetched


async def test_keys_are_fetched_at_first_need_and_once(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    issuer.keys = [EDDSA]
    assert MALFORMED in await refusal_of(verifier, "rubbish")
    assert issuer.requests == 0
    for clock.now in (NOW, NOW + 1, NOW + 59):
        assert await verifier.verify(EDDSA.sign({"n": clock.now}, claims())) == "ada"
        await fetched(verifier)
    assert issuer.requests == 1


async def test_cache_tokens_are_forgotten_when_the_keys_change_and_only_then(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA, ES256]
    revoked, kept = EDDSA.sign({}, claims(exp=NOW + 9999)), ES256.sign({}, claims(exp=NOW + 9999))
    assert [await verifier.verify(revoked), await verifier.verify(kept)] == ["ada", "ada"]
    for keys, remembered in (([EDDSA, ES256], 2), ([ES256], 0)):
        issuer.keys = keys
        clock.now += 601
        assert await verifier.verify(revoked) == "ada"  # the old keys serve while newer ones are fetched
        await fetched(verifier)
        assert len(verifier._cache) == remembered
    assert SIGNATURE in await refusal_of(verifier, revoked)
    assert await verifier.verify(kept) == "ada"


async def test_an_unknown_kid_fetches_a_rotated_key_at_most_every_30_seconds(
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
        assert SIGNATURE in await refusal_of(verifier, EDDSA.sign({"kid": "nobody's"}, claims()))
    assert issuer.requests == 2


async def test_an_algorithm_without_a_key_fetches_as_an_unknown_kid_does(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA]
    await verifier.verify(EDDSA.sign({}, claims()))
    issuer.keys = [SigningKey("ES256", ES256.private)]
    clock.now = NOW + 30
    assert await verifier.verify(issuer.keys[0].sign({}, claims())) == "ada"


async def test_a_forged_signature_fetches_nothing(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    issuer.keys = [EDDSA]
    await verifier.verify(EDDSA.sign({}, claims()))
    clock.now = NOW + 31
    assert SIGNATURE in await refusal_of(verifier, EDDSA_2.sign({"kid": "e"}, claims()))
    assert issuer.requests == 1


async def test_failures_count_as_attempts_and_the_old_keys_go_on_serving(
    issuer: Issuer, verifier: Verifier, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.keys = [EDDSA]
    await verifier.verify(EDDSA.sign({}, claims()))
    issuer.rubbish = rubbish(b"a secret of the issuer", 500)
    for clock.now, requests in ((NOW + 30, 2), (NOW + 31, 2), (NOW + 59, 2)):
        assert SIGNATURE in await refusal_of(verifier, EDDSA_2.sign({}, claims()))
        assert await verifier.verify(EDDSA.sign({"n": clock.now}, claims())) == "ada"
        assert issuer.requests == requests
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "The issuer's key set could not be fetched: ValueError: the status is 500"


def rubbish(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Callable[[], web.Response]:
    return partial(web.Response, status=status, body=body, headers=headers)


GOOD_SET = json.dumps({"keys": [EDDSA_2.jwk]}).encode()
RUBBISH = {
    "empty": rubbish(b""),
    "HTML": rubbish(b"<html>Sign in</html>"),
    "not UTF-8": rubbish(b"\xff\xff"),
    "a list": rubbish(json.dumps([EDDSA_2.jwk]).encode()),
    "a number": rubbish(b"1"),
    "no keys member": rubbish(json.dumps(EDDSA_2.jwk).encode()),
    "keys null": rubbish(b'{"keys":null}'),
    "keys a number": rubbish(b'{"keys":1}'),
    "keys a string": rubbish(b'{"keys":"EdDSA"}'),
    "no key": rubbish(b'{"keys":[]}'),
    "no object among the keys": rubbish(b'{"keys":[null,1,"x",[],true]}'),
    "no usable key": rubbish(json.dumps({"keys": [SMALL_RS256.jwk]}).encode()),
    "nested deeply": rubbish(b"[" * 100_000),
    "too large": rubbish(GOOD_SET + b" " * (1 << 20)),
    "said to be compressed": rubbish(GOOD_SET, headers={"Content-Encoding": "gzip"}),
    "an error with keys": rubbish(GOOD_SET, 503),
    "no content": rubbish(b"", 204),
    "a redirect": rubbish(GOOD_SET, 302, {"Location": "/elsewhere"}),
}


@pytest.mark.parametrize("answer", RUBBISH.values(), ids=RUBBISH.keys())
async def test_a_useless_answer_of_the_issuer_changes_nothing_and_is_logged(
    issuer: Issuer,
    verifier: Verifier,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[], web.Response],
) -> None:
    issuer.keys = [EDDSA]
    token = EDDSA.sign({}, claims(exp=NOW + 9999))
    await verifier.verify(token)
    issuer.keys = [EDDSA_2]
    issuer.rubbish = answer
    clock.now = NOW + 601
    await verifier.verify(token)
    await fetched(verifier)
    assert issuer.requests == 2
    assert await verifier.verify(EDDSA.sign({"n": 2}, claims(exp=NOW + 9999))) == "ada"
    [record] = caplog.records
    assert "could not be fetched" in record.getMessage()
    assert len(record.getMessage()) < 300


async def test_a_set_that_is_just_small_enough_is_read(issuer: Issuer, verifier: Verifier) -> None:
    issuer.rubbish = rubbish(GOOD_SET + b" " * ((1 << 20) - len(GOOD_SET)))
    assert await verifier.verify(EDDSA_2.sign({}, claims())) == "ada"


async def test_old_keys_are_fetched_again_in_the_background_for_cache_tokens_too(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA]
    token = EDDSA.sign({}, claims(exp=NOW + 9999))
    await verifier.verify(token)
    clock.now = NOW + 600
    await verifier.verify(token)
    await fetched(verifier)
    assert issuer.requests == 1
    issuer.open.clear()  # who waited for the issuer now would wait for ever
    issuer.arrived.clear()
    clock.now = NOW + 601
    for _ in range(3):
        assert await verifier.verify(token) == "ada"
    await issuer.arrived.wait()
    issuer.open.set()
    await fetched(verifier)
    assert issuer.requests == 2


async def test_while_the_issuer_is_down_old_keys_are_fetched_at_most_every_30_seconds(
    issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.keys = [EDDSA]
    token = EDDSA.sign({}, claims(exp=NOW + 9999))
    await verifier.verify(token)
    issuer.rubbish = rubbish(b"", 502)
    for clock.now, requests in ((NOW + 601, 2), (NOW + 602, 2), (NOW + 630, 2), (NOW + 631, 3)):
        assert await verifier.verify(token) == "ada"
        await fetched(verifier)
        assert issuer.requests == requests


async def test_requests_at_the_same_time_share_one_fetch(issuer: Issuer, verifier: Verifier) -> None:
    issuer.keys = [EDDSA]
    issuer.open.clear()
    tokens = [EDDSA.sign({}, claims(sub=f"user {n}")) for n in range(20)]
    requests = [asyncio.create_task(verifier.verify(token)) for token in tokens]
    await issuer.arrived.wait()
    issuer.open.set()
    assert await asyncio.gather(*requests) == [f"user {n}" for n in range(20)]
    assert issuer.requests == 1


async def test_a_request_that_is_cancelled_leaves_the_fetch_to_the_others(issuer: Issuer, verifier: Verifier) -> None:
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


async def test_without_any_keys_the_answer_is_503_and_the_issuer_is_asked_once_a_second(
    issuer: Issuer, issuer_url: str, aiohttp_client: AiohttpClient, clock: Clock
) -> None:
    client = await client_for(aiohttp_client, key_set_settings(issuer_url))
    issuer.keys = [EDDSA]
    issuer.rubbish = rubbish(b"starting")
    token = EDDSA.sign({}, claims())
    for clock.now, requests in ((NOW, 1), (NOW + 0.9, 1), (NOW + 1, 2), (NOW + 1.9, 2)):
        response = await client.get("/api/me", headers=bearer(token))
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert "issuer" in (await response.json(content_type=None))["detail"]
        assert issuer.requests == requests
    issuer.rubbish = None
    clock.now = NOW + 2.9
    response = await client.get("/api/me", headers=bearer(token))
    assert response.status == 200


async def test_an_issuer_that_is_not_there_makes_503(caplog: pytest.LogCaptureFixture) -> None:
    verifier = Verifier(key_set_settings(f"http://127.0.0.1:{free_port()}/keys"))
    await unavailable(verifier, EDDSA.sign({}, claims()))
    assert "ClientConnectorError" in caplog.text


async def test_a_slow_issuer_is_waited_for_only_so_long(
    issuer: Issuer, verifier: Verifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert key_set.FETCH_TIMEOUT.total == 5
    monkeypatch.setattr(key_set, "FETCH_TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    issuer.keys = [EDDSA]
    issuer.open.clear()
    await unavailable(verifier, EDDSA.sign({}, claims()))
    issuer.open.set()
    assert "TimeoutError" in caplog.text


async def test_the_service_ends_while_a_fetch_is_under_way_and_leaves_nothing_behind(
    issuer: Issuer, issuer_url: str
) -> None:
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
