"""pg_stat_statements: a DBA finds the service's statements by the names of their files."""

import os
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.database import open_database
from tests.support.external_programs import missing
from tests.support.postgres_servers import BINARIES, require_oldest
from todo_service.database.migrations import migrate
from todo_service.embedded.postgres import run_postgres
from todo_service.handlers.tasks import LIST_TASKS
from todo_service.settings import Settings

pytestmark = pytest.mark.database


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A PostgreSQL with pg_stat_statements, an extension that the embedded PostgreSQL doesn't have."""
    binaries = Path(os.environ[BINARIES]) if BINARIES in os.environ else require_oldest()
    if not (binaries.parent / "lib" / "pg_stat_statements.so").exists():
        missing(f"there is no pg_stat_statements in {binaries.parent / 'lib'}")
    options = ["-c", "shared_preload_libraries=pg_stat_statements"]
    with run_postgres(tmp_path / "data", binaries=binaries, options=options) as postgres:
        yield postgres.url


async def test_pg_stat_statements_shows_the_names_of_the_files(server: str, settings: Settings) -> None:
    await migrate(server, lambda _line: None)
    async with open_database(settings, database_url=server) as database:
        for _ in range(3):
            await database.run(LIST_TASKS, "alice", 10, None)
    connection = await asyncpg.connect(server)
    await connection.execute("CREATE EXTENSION pg_stat_statements")
    calls = await connection.fetchval(
        "SELECT calls FROM pg_stat_statements WHERE starts_with(query, $1)", "-- tasks/list_tasks\n"
    )
    await connection.close()
    assert calls == 3
