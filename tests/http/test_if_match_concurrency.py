"""`If-Match` in concurrent writes: one of many writes with the same tag succeeds, with and without batches."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestServer
from pytest_aiohttp import AiohttpClient

from tests.support.api import Api, Client, call_with_header, case_id, path_of, problem_of, tag_of
from tests.support.conditional_requests import WRITES, Call, assert_412, change
from tests.support.database import blocked_sessions
from tests.support.processes import TEST_TIMEOUT
from todo_service.app import create_app
from todo_service.database import batching
from todo_service.database.batching import StatementQueue
from todo_service.database.database import DATABASE
from todo_service.settings import Settings

pytestmark = pytest.mark.database

REQUESTS = 16


async def wait_for_blocked_writes(
    connection: asyncpg.Connection, workers: list[Client], requests: int, connections: int
) -> None:
    """Waits until the workers received `requests` writes, and `connections` of their connections wait for locks."""
    batch_queues = [worker.app[DATABASE]._queue for worker in workers]
    blocked = received = 0
    async with asyncio.timeout(TEST_TIMEOUT):
        while (received, blocked) != (requests, connections):
            blocked = len(await blocked_sessions(connection))
            received = sum(
                len(batch.calls)
                for queue in batch_queues
                for batch in (*queue._turns.values(), *(sent for sent in queue._in_flight if sent.statement.writes))
            )


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of calls in each batch, in the order in which the batches were sent."""
    sizes, take = list[int](), StatementQueue.take

    def record(self: StatementQueue, *args: Any) -> Any:
        calls = take(self, *args)
        sizes.append(len(calls))
        return calls

    monkeypatch.setattr(StatementQueue, "take", record)
    monkeypatch.setattr(batching, "TARGET_BATCH_SECONDS", 3600)  # a slow batch must not make later batches smaller
    return sizes


@pytest.fixture
async def workers(
    settings: Settings, aiohttp_client: AiohttpClient, long_lock_timeout: None, size: int
) -> list[Client]:
    """Two workers with a long lock timeout. If calls can share batches, each worker has one connection for writes."""
    connections = 2 if size > 1 else REQUESTS // 2 + 1  # one connection is kept for reads
    changed = replace(settings, database_batch_size=size, database_pool_size=connections, database_timeout=60)
    return [await aiohttp_client(TestServer(create_app(changed))) for _ in range(2)]


@pytest.mark.parametrize("size", [1, 32], ids=["without batches", "in batches"])
@pytest.mark.parametrize("call", [write for write in WRITES if write[2] != {"completed": True}], ids=case_id)
async def test_one_of_many_concurrent_writes_with_the_same_etag_succeeds(
    owner: Api, workers: list[Client], connection: asyncpg.Connection, batch_sizes: list[int], call: Call, size: int
) -> None:
    method, below, body = call
    task = await change(owner, await owner.create())
    batch_sizes.clear()

    async with connection.transaction():
        await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", owner.user_id)
        requests = []
        for number in range(REQUESTS):
            api = replace(owner, client=workers[number % 2])
            own = body and {**body, "description": f"By {number}"}
            requests.append(call_with_header(api, method, path_of(task) + below, "If-Match", '"2"', json=own))
        running = asyncio.gather(*requests)
        await wait_for_blocked_writes(connection, workers, REQUESTS, REQUESTS if size == 1 else 2)
    responses = await running

    assert (max(batch_sizes) > 1) is (size > 1)
    [winner] = [response for response in responses if response.status in (200, 204)]
    for loser in set(responses) - {winner}:
        if method == "DELETE":
            await problem_of(loser, 404, "task-not-found")
        else:
            await assert_412(loser, 3)
    after = await owner.get(task)
    assert after == (await winner.json() if method != "DELETE" else None)
    assert after is None or winner.headers["ETag"] == f'"{after["revision"]}"' == '"3"'
    assert (await tag_of(owner)).endswith("-3")


@pytest.mark.parametrize("size", [1])
@pytest.mark.parametrize("call", WRITES, ids=case_id)
async def test_a_write_that_waited_for_a_lock_is_checked_against_the_new_etag(
    owner: Api, workers: list[Client], connection: asyncpg.Connection, call: Call
) -> None:
    method, below, body = call
    task = await owner.create()

    async with connection.transaction():
        for table, condition in (("users", "id = $1"), ("tasks", "user_id = $1")):
            await connection.execute(f"UPDATE {table} SET revision = 2 WHERE {condition}", owner.user_id)
        api = replace(owner, client=workers[0])
        running = asyncio.create_task(
            call_with_header(api, method, path_of(task) + below, "If-Match", '"1"', json=body)
        )
        await wait_for_blocked_writes(connection, workers, 1, 1)

    await assert_412(await running, 2)
    assert await owner.get(task) == {**task, "revision": 2}
