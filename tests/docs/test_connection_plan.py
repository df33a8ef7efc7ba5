"""docs/operations.md, "Size the connections": the documented plans fit 20 connections, during a release too."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import ClientSession

from tests.support.api import TASKS
from tests.support.pages import page
from tests.support.pgbouncer import not_through_pgbouncer
from tests.support.processes import SECRET, UP_TO_DATE, run_command, served, wait_until
from todo_service.auth.tokens import sign_token

pytestmark = pytest.mark.database

ROWS = [tuple(map(int, numbers)) for _, *numbers in page("docs/operations.md").table("Size the connections")]
"""The rows of the table: dynos, workers, pool size, connections, and connections during a release."""


@pytest.fixture
async def limited_database(empty_database: str, connection: asyncpg.Connection) -> AsyncIterator[str]:
    """A database whose owner may have 20 connections."""
    role, name = f"plan_{uuid4().hex}", urlsplit(empty_database).path[1:]
    await connection.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 20")
    await connection.execute(f"ALTER DATABASE {name} OWNER TO {role}")
    yield urlunsplit(urlsplit(empty_database)._replace(netloc=f"{role}@"))
    inside = await asyncpg.connect(empty_database)
    await inside.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP ROLE {role}")
    await inside.close()


@pytest.mark.slow
def test_the_numbers_of_each_plan_are_right_and_fit_20_connections() -> None:
    assert ROWS
    for dynos, workers, size, steady, released in ROWS:
        assert steady == dynos * workers * size
        assert released == 2 * steady + 1 <= 20


@pytest.mark.slow
@not_through_pgbouncer
async def test_a_release_with_preboot_fits_20_connections_and_fails_no_request(
    limited_database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    _, workers, size, _, released = ROWS[0]
    settings = {
        "DATABASE_URL": limited_database,
        "WEB_CONCURRENCY": str(workers),
        "DATABASE_POOL_SIZE": str(size),
        "DATABASE_TIMEOUT": "60",
    }
    assert run_command("migrate", DATABASE_URL=limited_database).returncode == 0
    statuses: Counter[int] = Counter()
    counts = []
    done = asyncio.Event()

    async def use(url: str, user_id: str) -> None:
        headers = {"Authorization": f"Bearer {sign_token(SECRET, user_id, days=1)}"}
        async with ClientSession(url, headers=headers) as session:
            while not done.is_set():
                for response in await asyncio.gather(
                    session.post(TASKS, json={"title": "x"}), session.get(TASKS, params={"limit": 50})
                ):
                    statuses[response.status] += 1
                    response.release()

    async def watch() -> None:
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1"
        while not done.is_set():
            counts.append(await connection.fetchval(query, urlsplit(limited_database).username))

    with served(tmp_path / "old", **settings) as (_, old), served(tmp_path / "new", **settings) as (_, new):
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(use((old, new)[number % 2], f"user-{number}"))
            group.create_task(watch())
            migration = await asyncio.to_thread(run_command, "migrate", DATABASE_URL=limited_database)
            answered = statuses.total()
            await wait_until(lambda: max(counts) >= 2 * workers and statuses.total() >= answered + 200)
            done.set()

    assert (migration.returncode, migration.stdout) == (0, f"{UP_TO_DATE}\n")
    assert set(statuses) == {200, 201}, statuses
    assert 2 * workers <= max(counts) <= released
