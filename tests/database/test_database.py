"""The database: the service starts without a database, reports whether it is ready, and reuses its sessions."""

import asyncpg
import pytest

from tests.support.api import TASKS, path_of, problem_of
from tests.support.database import Gateway, StartService, assert_503, wait_for_session_count
from tests.support.pgbouncer import not_through_pgbouncer, pooled

pytestmark = pytest.mark.database


async def test_the_service_works_as_soon_as_the_database_is_reachable(
    start_service: StartService, gateway: Gateway
) -> None:
    await gateway.close()
    owner = await start_service(database_url=gateway.url)
    for _ in range(2):
        assert (await owner.client.get("/health")).status == 200
        await assert_503(await owner.client.get("/health/ready"), "unavailable")
        await assert_503(await owner.call("GET", TASKS), "unavailable")
        await assert_503(await owner.call("POST", TASKS, json={"title": "x"}), "unavailable")
        await gateway.open()
        assert (await owner.client.get("/health/ready")).status == 200
        assert await owner.tasks() == []
        await gateway.close()


async def test_the_service_is_not_ready_on_an_unmigrated_database(
    start_service: StartService, empty_database: str
) -> None:
    owner = await start_service(database_url=pooled(empty_database))
    assert (await owner.client.get("/health")).status == 200
    await problem_of(await owner.client.get("/health/ready"), 503, "unavailable")


@not_through_pgbouncer
async def test_requests_reuse_a_session_without_resetting_it(
    start_service: StartService, connection: asyncpg.Connection
) -> None:
    await wait_for_session_count(connection, 0)
    owner = await start_service(database_pool_size=1)
    task = await owner.create()
    pids = set()
    for method, path, name in [
        ("GET", TASKS, "list_tasks"),
        ("GET", path_of(task), "get_task"),
        ("PATCH", f"{path_of(task)}/complete", "complete_task"),
        ("DELETE", path_of(task), "delete_task"),
    ]:
        await owner.call(method, path)
        [(pid, query)] = await connection.fetch(
            "SELECT pid, query FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'todo-service'"
        )
        assert query.startswith(f"-- tasks/{name}\n")
        pids.add(pid)
    assert len(pids) == 1
