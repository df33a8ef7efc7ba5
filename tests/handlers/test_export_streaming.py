"""An export is streamed: memory stays low, and slow clients hold no database connection."""

import asyncio
import re
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiohttp import ClientSession

from tests.support.exports import (
    LONGEST,
    MEGABYTE,
    MakeUser,
    digest_of,
    expected_digest,
    slow_client,
    start_export,
    tasks_in,
)
from tests.support.processes import served

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("exports")]  # one at a time: each test loads the machine

SMALL = "Two bottles"


def peak_memory(process: psutil.Process) -> int:
    """The peak resident memory of the process in bytes, as Linux reports it."""
    match = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "description"), [(100_000, SMALL), (4_000, LONGEST)], ids=["many tasks", "long descriptions"]
)
async def test_large_exports_need_less_than_100_mb_of_memory(
    user_with: MakeUser,
    connection: asyncpg.Connection,
    service_database_url: str,
    tmp_path: Path,
    count: int,
    description: str,
) -> None:
    user = await user_with(count, description)
    with served(tmp_path / "log", DATABASE_URL=service_database_url) as (process, url):
        [worker] = psutil.Process(process.pid).children()
        async with ClientSession(url, headers=user.headers) as session:
            exports = [await start_export(session) for _ in range(4)]
            digests = await asyncio.gather(*(digest_of(each.content.iter_any()) for each in exports))
        peak = peak_memory(worker)

    assert set(digests) == {await expected_digest(connection, user)}
    assert peak < 100 * MEGABYTE


@pytest.mark.slow
async def test_clients_that_read_slowly_hold_no_database_connection(
    user_with: MakeUser, service_database_url: str, tmp_path: Path
) -> None:
    user = await user_with(4_000, LONGEST)
    settings = {"DATABASE_URL": service_database_url, "DATABASE_POOL_SIZE": "1", "DATABASE_TIMEOUT": "60"}
    with served(tmp_path / "log", **settings) as (_, url):
        async with slow_client(url, user) as slow, ClientSession(url, headers=user.headers) as quick:
            *exports, abandoned = [await start_export(slow) for _ in range(5)]
            abandoned.close()
            response = await quick.post("/api/tasks", json={"title": "late"})
            assert response.status == 201
            late = await response.json()
            assert await (await quick.get("/api/tasks", params={"limit": "1"})).json() == [late]

            bodies = [await export.read() for export in exports]

    for body in bodies:
        tasks = tasks_in(body)
        assert len(tasks) == 4_001
        assert tasks[-1] == late, "an export that reads all tasks at its beginning would not have this one"
