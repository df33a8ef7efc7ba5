"""DELETE /api/me deletes all data of the user, also during concurrent writes. The user can create tasks again."""

import asyncio
import itertools
import random
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse

from tests.support.api import TASKS, Api, path_of, problem_of
from tests.support.cors import ORIGIN, assert_readable
from tests.support.database import StartService, wait_for_blocked_sessions
from tests.support.processes import free_port

pytestmark = pytest.mark.database

ME = "/api/me"


async def rows_of(connection: asyncpg.Connection, user_id: str) -> dict[str, int]:
    """For each table, the number of rows with the user's id in any column. Tables without these rows are left out."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    count = 'SELECT count(*) FROM "{}" AS row WHERE position($1 IN row::text) > 0'
    found = {table: await connection.fetchval(count.format(table), user_id) for (table,) in tables}
    return {table: rows for table, rows in found.items() if rows}


def generation_of(response: ClientResponse) -> str:
    return response.headers["ETag"].strip('"').rpartition("-")[0]


async def test_deleting_an_account_deletes_every_row_of_the_user_and_no_other_row(
    owner: Api, stranger: Api, connection: asyncpg.Connection
) -> None:
    for api in (owner, stranger):
        kept, deleted = await api.create(description=api.user_id), await api.create()
        await api.call("PATCH", f"{path_of(kept)}/complete")
        await api.call("DELETE", path_of(deleted))
        await api.call("POST", TASKS, json={"title": "x"}, headers={"Idempotency-Key": "once"})
    assert (await rows_of(connection, owner.user_id)).keys() == {"users", "tasks"}
    theirs = await rows_of(connection, stranger.user_id), await stranger.tasks()

    responses = [await owner.call("DELETE", ME) for _ in range(2)]

    assert [(response.status, await response.read()) for response in responses] == [(204, b"")] * 2
    assert await rows_of(connection, owner.user_id) == {}
    assert (await rows_of(connection, stranger.user_id), await stranger.tasks()) == theirs


async def test_a_user_can_create_tasks_again_after_deleting_the_account(owner: Api) -> None:
    initial = await owner.call("GET", TASKS)
    task = await owner.create()
    before = await owner.call("GET", TASKS)
    response = await owner.call("DELETE", ME, headers={"Origin": ORIGIN})
    assert_readable(response)

    empty = await owner.call("GET", TASKS, headers={"If-None-Match": before.headers["ETag"]})
    again = await owner.create()
    after = await owner.call("GET", TASKS, headers={"If-None-Match": before.headers["ETag"]})

    assert (empty.status, await empty.json(), empty.headers["ETag"]) == (200, [], initial.headers["ETag"])
    assert (task["revision"], again["revision"]) == (1, 1)
    assert (after.status, await after.json()) == (200, [again])
    assert len({generation_of(response) for response in (initial, before, after)}) == 3
    assert await owner.get(task) is None


async def test_deleting_an_account_with_a_query_gets_400_and_deletes_nothing(owner: Api) -> None:
    task = await owner.create()
    await problem_of(await owner.call("DELETE", f"{ME}?limit=1"), 400, "invalid-query")
    assert await owner.tasks() == [task]


async def test_deleting_an_account_without_a_database_gets_503(start_service: StartService) -> None:
    owner = await start_service(database_url=f"postgres://u:p@127.0.0.1:{free_port()}/d")
    await problem_of(await owner.call("DELETE", ME), 503, "unavailable")


# Each write of the next test has its own connection, where it waits for the user's row. The pool has one more
# connection for reads.
WRITERS = 7


@pytest.mark.usefixtures("long_lock_timeout")
async def test_a_concurrent_write_is_applied_before_or_after_the_deletion(
    start_service: StartService, connection: asyncpg.Connection
) -> None:
    owner = await start_service(database_pool_size=WRITERS + 1, database_batch_size=1)
    for _ in range(20):
        task = await owner.create()
        requests: list[tuple[str, str, dict[str, Any]]] = [
            *[("DELETE", ME, {})] * 2,
            *[("POST", TASKS, {"json": {"title": "x"}})] * 2,
            ("POST", TASKS, {"json": {"title": "x"}, "headers": {"Idempotency-Key": "once"}}),
            ("PATCH", path_of(task), {"json": {"title": "changed"}}),
            ("PATCH", f"{path_of(task)}/complete", {}),
        ]
        random.shuffle(requests)

        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", owner.user_id)
            calls = [asyncio.create_task(owner.call(method, path, **rest)) for method, path, rest in requests]
            await wait_for_blocked_sessions(connection, WRITERS)
        responses = await asyncio.gather(*calls)

        assert {response.status for response in responses} <= {200, 201, 204, 404}
        left = await rows_of(connection, owner.user_id)
        assert left.get("users") == 1 or left == {}
        tasks = await owner.tasks(order="asc")
        revisions = [0, *sorted(each["revision"] for each in tasks)]
        jumps = [after for before, after in itertools.pairwise(revisions) if after != before + 1]
        assert len(jumps) <= 1, "only the first create with an Idempotency-Key may skip revisions"
