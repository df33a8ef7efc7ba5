"""Retries with an Idempotency-Key: concurrent retries, and retries after a lost connection or response."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse

from tests.support.api import Api, problem_of, tag_of
from tests.support.database import StartService, wait_for_blocked_session, wait_for_blocked_sessions
from tests.support.idempotency import KEY, OTHER, PAYLOAD, assert_created, assert_replayed, post
from tests.support.processes import TEST_TIMEOUT
from tests.support.writers import block_writes
from todo_service.database.sending import Senders

pytestmark = pytest.mark.database

# Concurrent requests

SENDS = 50

KNOWN = pytest.mark.parametrize("known", [False, True], ids=["new user", "known user"])
POOLS = pytest.mark.parametrize(("connections", "batch_size"), [(1, 32), (1, 1), (4, 32), (4, 1), (20, 1)])

SendConcurrently = Callable[
    [list[tuple[str, dict[str, Any]]], bool, int, int], Awaitable[tuple[Api, list[ClientResponse]]]
]


@pytest.fixture
def send_concurrently(
    start_service: StartService, long_lock_timeout: None, connection: asyncpg.Connection, observer: asyncpg.Connection
) -> SendConcurrently:
    """Sends concurrent requests of one user. Each connection for writes waits for the user's row first."""

    async def send(
        requests: list[tuple[str, dict[str, Any]]], known: bool, connections: int, batch_size: int
    ) -> tuple[Api, list[ClientResponse]]:
        api = await start_service(
            database_pool_size=connections, database_batch_size=batch_size, database_timeout=TEST_TIMEOUT
        )
        if known:
            await api.create()
        blocker = await block_writes(connection, api.user_id)
        sending = asyncio.gather(*(post(api, payload, key) for key, payload in requests))
        await wait_for_blocked_sessions(observer, max(connections - 1, 1))  # one connection is kept for reads
        await blocker.rollback()
        return api, await sending

    return send


@KNOWN
@POOLS
async def test_concurrent_requests_with_one_key_create_one_task(
    send_concurrently: SendConcurrently, connections: int, batch_size: int, known: bool
) -> None:
    api, responses = await send_concurrently([(KEY, PAYLOAD)] * SENDS, known, connections, batch_size)

    [first] = [response for response in responses if response.status == 201]
    task = await assert_created(first)
    assert [await assert_replayed(response) for response in responses if response is not first] == [task] * (SENDS - 1)
    assert (len(await api.tasks()), await api.get(task)) == (1 + known, task)
    one_write = (await tag_of(api)).endswith(f"-{task['revision']}")
    assert one_write or not known, "for a new user, requests that waited may take revisions"


@KNOWN
@POOLS
async def test_one_of_two_concurrent_payloads_with_one_key_is_stored(
    send_concurrently: SendConcurrently, connections: int, batch_size: int, known: bool
) -> None:
    requests = [(KEY, PAYLOAD), (KEY, OTHER)] * (SENDS // 2)
    random.shuffle(requests)

    api, responses = await send_concurrently(requests, known, connections, batch_size)

    [first] = [response for response in responses if response.status == 201]
    task = await assert_created(first)
    for (_, payload), response in zip(requests, responses, strict=True):
        if payload["title"] != task["title"]:
            await problem_of(response, 422, "idempotency-key-reused")
        elif response is not first:
            assert await assert_replayed(response) == task
    assert Counter(response.status for response in responses) == {201: 1, 200: SENDS // 2 - 1, 422: SENDS // 2}
    assert (len(await api.tasks()), await api.get(task)) == (1 + known, task)


@KNOWN
@POOLS
async def test_concurrent_requests_with_different_keys_create_a_task_each(
    send_concurrently: SendConcurrently, connections: int, batch_size: int, known: bool
) -> None:
    api, responses = await send_concurrently([(str(n), PAYLOAD) for n in range(SENDS)], known, connections, batch_size)

    tasks = [await assert_created(response) for response in responses]
    revisions = sorted(task["revision"] for task in tasks)
    assert len(set(revisions)) == SENDS
    assert not known or revisions == list(range(revisions[0], revisions[0] + SENDS))
    assert len({task["id"] for task in tasks}) == SENDS == len(await api.tasks()) - known


# Lost requests and responses


@KNOWN
async def test_a_request_can_be_repeated_if_the_database_connection_was_lost_before_the_commit(
    start_service: StartService,
    long_lock_timeout: None,
    connection: asyncpg.Connection,
    observer: asyncpg.Connection,
    known: bool,
) -> None:
    api = await start_service(database_pool_size=1, database_timeout=TEST_TIMEOUT)
    before = [await api.create()] if known else []
    blocker = await block_writes(connection, api.user_id)
    sending = asyncio.create_task(post(api))
    await observer.execute("SELECT pg_terminate_backend($1)", await wait_for_blocked_session(observer))
    lost = await sending
    await blocker.rollback()

    repeated = [await post(api), await post(api)]

    assert "Idempotency-Key" in (await problem_of(lost, 503, "outcome-unknown"))["detail"]
    task = await assert_created(repeated[0])
    assert await assert_replayed(repeated[1]) == task
    assert await api.tasks() == [task, *before]


async def test_a_request_can_be_repeated_if_the_response_of_the_database_was_lost(
    owner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Senders._fetch

    async def lose_the_response(*args: Any) -> list[asyncpg.Record]:
        await fetch(*args)
        raise ConnectionResetError("test")

    with monkeypatch.context() as patch:
        patch.setattr(Senders, "_fetch", lose_the_response)
        lost = await post(owner)

    repeated = await post(owner)

    assert "Idempotency-Key" in (await problem_of(lost, 503, "outcome-unknown"))["detail"]
    assert await owner.tasks() == [await assert_replayed(repeated)]
