"""If-Match where many write at once: whatever has waited is compared with what the task is then."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestServer
from pytest_aiohttp import AiohttpClient

from tests.http.test_conditional_requests import WRITES, Call, change, changed_since
from tests.support.api import Api, Client, ask, path_of, problem_of, tag_of
from tests.support.processes import PATIENCE
from todo_service.app import create_app
from todo_service.database import batching, connecting
from todo_service.database.batching import StatementQueue
from todo_service.database.database import DATABASE
from todo_service.settings import Settings

pytestmark = pytest.mark.database

REQUESTS = 16


async def until_all_wait(
    connection: asyncpg.Connection, workers: list[Client], requests: int, connections: int
) -> None:
    """Until so many requests have come to the databases of the workers, and so many connections wait for a lock."""
    batch_queues = [worker.app[DATABASE]._queue for worker in workers]
    waiting = come = 0
    async with asyncio.timeout(PATIENCE):
        while (come, waiting) != (requests, connections):
            await connection.execute("SELECT pg_stat_clear_snapshot()")  # or the transaction sees the same for ever
            waiting = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'todo-service' AND wait_event_type = 'Lock'"
            )
            queues = [
                [
                    *(queue.calls for queue in each._turns.values()),
                    *(batch.calls for batch in each._in_flight if batch.statement.writes),
                ]
                for each in batch_queues
            ]
            come = sum(len(queue) for queue in itertools.chain(*queues))


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls were sent together, each time."""
    sizes = []
    take = StatementQueue.take

    def record(self: StatementQueue, *args: Any) -> Any:
        calls = take(self, *args)
        sizes.append(len(calls))
        return calls

    monkeypatch.setattr(StatementQueue, "take", record)
    monkeypatch.setattr(batching, "TARGET_BATCH_SECONDS", 3600)  # slow batches stay as large
    return sizes


@pytest.fixture
async def workers(
    settings: Settings, aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch, size: int
) -> list[Client]:
    """Two workers that don't lose patience; of each one connection serves all writes if they may share batches."""
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    connections = 2 if size > 1 else REQUESTS // 2 + 1  # one is kept for reads
    changed = replace(settings, database_batch_size=size, database_pool_size=connections, database_timeout=60)
    return [await aiohttp_client(TestServer(create_app(changed))) for _ in range(2)]


@pytest.mark.parametrize(("size", "connections"), [(1, REQUESTS), (32, 2)], ids=["singly", "in batches"])
@pytest.mark.parametrize("call", [write for write in WRITES if write[2] != {"completed": True}])
async def test_one_of_many_concurrent_changes_with_the_same_tag_is_made(
    owner: Api,
    workers: list[Client],
    connection: asyncpg.Connection,
    batch_sizes: list[int],
    call: Call,
    size: int,
    connections: int,
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
            requests.append(ask(api, method, path_of(task) + below, "If-Match", '"2"', json=own))
        running = asyncio.gather(*requests)
        await until_all_wait(connection, workers, REQUESTS, connections)
    responses = await running

    assert (max(batch_sizes) > 1) is (size > 1)
    [winner] = [response for response in responses if response.status in (200, 204)]
    for loser in set(responses) - {winner}:
        if method == "DELETE":
            await problem_of(loser, 404, "task-not-found")
        else:
            await changed_since(loser, 3)
    after = await owner.get(task)
    assert after == (await winner.json() if method != "DELETE" else None)
    assert after is None or winner.headers["ETag"] == f'"{after["revision"]}"' == '"3"'
    assert (await tag_of(owner)).endswith("-3")


@pytest.mark.parametrize("size", [1])
@pytest.mark.parametrize("call", WRITES)
async def test_a_write_that_has_waited_looks_at_what_the_task_is_now(
    owner: Api, workers: list[Client], connection: asyncpg.Connection, call: Call
) -> None:
    method, below, body = call
    task = await owner.create()

    async with connection.transaction():
        for table, condition in (("users", "id = $1"), ("tasks", "user_id = $1")):
            await connection.execute(f"UPDATE {table} SET revision = 2 WHERE {condition}", owner.user_id)
        api = replace(owner, client=workers[0])
        running = asyncio.create_task(ask(api, method, path_of(task) + below, "If-Match", '"1"', json=body))
        await until_all_wait(connection, workers, 1, 1)

    await changed_since(await running, 2)
    assert await owner.get(task) == {**task, "revision": 2}
