"""Migrations under load: no request fails while migrations run or wait for locks."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientSession

from tests.support.api import TASKS
from tests.support.clocks import FakeAsyncio
from tests.support.processes import SECRET, TEST_TIMEOUT, served, wait_until
from tests.support.service_role import grant_service
from todo_service.auth.tokens import sign_token
from todo_service.database import migrations
from todo_service.database.migrations import Migration, MigrationError, migrate, read_migrations

pytestmark = [pytest.mark.slow, pytest.mark.database]

CLIENTS = 20
CHANGE = Migration(
    "0098_change.sql",
    "ALTER TABLE users ADD COLUMN load_note text; ALTER TABLE tasks ADD COLUMN load_note text;"
    "CREATE INDEX tasks_load_note_idx ON tasks (user_id, load_note);",
)
CONCURRENT = Migration(
    "0099_index.sql", "-- no transaction\nCREATE INDEX CONCURRENTLY tasks_updated_idx ON tasks (user_id, updated_at);\n"
)
# No request needs these released migrations. The test applies them again.
REPEATED = ("0002_index_tasks_by_revision.sql", "0003_comment_on_tasks_pkey.sql")
UNAPPLY = f"DROP INDEX tasks_revision_idx; DELETE FROM schema_migrations WHERE name IN {REPEATED}"


@dataclass
class Load:
    """The number of responses with each status."""

    statuses: Counter[int] = field(default_factory=Counter)

    async def wait_for_responses(self, responses: int = 200) -> None:
        """Waits for this number of further responses."""
        wanted = self.statuses.total() + responses
        await wait_until(lambda: self.statuses.total() >= wanted)

    def check(self) -> None:
        """Asserts that no request has failed."""
        assert set(self.statuses) <= {200, 201, 204}, self.statuses


@asynccontextmanager
async def load(url: str) -> AsyncIterator[Load]:
    """Runs clients within the block. They create, list, update, complete and delete tasks."""
    counted = Load()
    done = asyncio.Event()

    async def use(user_id: str) -> None:
        headers = {"Authorization": f"Bearer {sign_token(SECRET, user_id, days=1)}"}
        async with ClientSession(url, headers=headers) as session:

            async def call(method: str, path: str, **arguments: object) -> dict[str, str]:
                async with session.request(method, path, **arguments) as response:  # type: ignore[arg-type]
                    document = await response.json() if response.status in (200, 201) else {}
                counted.statuses[response.status] += 1
                return document if isinstance(document, dict) else {}

            while not done.is_set():
                task = await call("POST", TASKS, json={"title": "Buy milk"})
                path = f"{TASKS}/{task.get('id')}"
                await call("GET", TASKS, params={"limit": "20"})
                await call("PATCH", path, json={"title": "Buy oat milk"})
                await call("PATCH", f"{path}/complete")
                await call("DELETE", path)

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(use(f"user-{number}"))
        try:
            await counted.wait_for_responses()
            yield counted
            await counted.wait_for_responses()
        finally:
            done.set()


async def report_of(url: str, *files: Migration) -> list[str]:
    """Migrates. Returns the reported lines without lines about waiting, which depend on the requests."""
    lines: list[str] = []
    await migrate(url, lines.append, list(files))
    return [line for line in lines if not line.startswith("waiting")]


async def test_no_request_fails_while_migrations_change_tables(empty_database: str, tmp_path: Path) -> None:
    files = read_migrations()
    await report_of(empty_database, *files)
    owner = await asyncpg.connect(empty_database)
    await owner.execute(UNAPPLY)
    await owner.close()
    with served(tmp_path / "log", DATABASE_URL=await grant_service(empty_database), WEB_CONCURRENCY="2") as (_, url):
        async with load(url) as counted:
            report = await report_of(empty_database, *files, CHANGE, CONCURRENT)
    assert report == [f"applied {name}" for name in (*REPEATED, CHANGE.name, CONCURRENT.name)]
    counted.check()


async def test_no_request_fails_while_a_migration_waits_for_a_lock(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 10.0 * TEST_TIMEOUT)
    monkeypatch.setattr(migrations, "asyncio", clock := FakeAsyncio())
    files = read_migrations()
    await report_of(empty_database, *files)
    backup = await asyncpg.connect(empty_database)
    with served(tmp_path / "log", DATABASE_URL=await grant_service(empty_database), WEB_CONCURRENCY="2") as (_, url):
        async with load(url) as counted:
            async with backup.transaction():
                await backup.execute("LOCK TABLE tasks IN ACCESS SHARE MODE")  # as pg_dump does
                lines: list[str] = []
                migration = asyncio.create_task(migrate(empty_database, lines.append, [*files, CHANGE]))
                await wait_until(lambda: bool(lines))
                await counted.wait_for_responses()  # while the migration retries
                assert (lines, migration.done()) == (["waiting for the locks that 0098_change.sql needs"], False)
                clock.ahead = migrations.LOCK_SECONDS + 1
                with pytest.raises(MigrationError, match=r"^0098_change\.sql failed: .*lock timeout\. Nothing of it"):
                    await asyncio.wait_for(migration, TEST_TIMEOUT)
                columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'load_note'"
                assert await backup.fetchval(columns) == 0
            assert await report_of(empty_database, *files, CHANGE) == [f"applied {CHANGE.name}"]
            assert await backup.fetchval(columns) == 2
    counted.check()
    await backup.close()
