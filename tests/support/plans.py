"""Query plans of the statements with the service's settings, on large tables."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.support.sql_files import SqlFile
from todo_service.database.migrations import migrate

BIG_USER = "big"
BIG_USER_TASKS = 100_000
PAGE_SIZE = 50

# One user with very many tasks, among many users with a few. The rows are not in the order of any index.
SEED = f"""
    INSERT INTO users (id, revision)
    SELECT 'small-' || n, 5 FROM generate_series(1, 1000) AS n UNION ALL SELECT '{BIG_USER}', {BIG_USER_TASKS};

    INSERT INTO tasks (user_id, title, completed, due_date, created_at, revision)
    SELECT
        CASE WHEN n <= {BIG_USER_TASKS} THEN '{BIG_USER}' ELSE 'small-' || (n % 1000 + 1) END,
        'Task ' || (n * 7919 % 100003),
        n * 31 % 7 < 3,
        CASE WHEN n % 3 > 0 THEN timestamptz '2030-01-01Z' + (n * 10007 % 100003) * interval '1 minute' END,
        timestamptz '2024-01-01Z' + n * interval '1 second',
        n
    FROM generate_series(1, {BIG_USER_TASKS} + 5000) AS n;
"""

# Many users with one page of tasks, and one with more. If the planner expected few matches, it would sort all tasks.
CROWD = f"""
    INSERT INTO users (id, revision)
    SELECT 'small-' || n, 50 FROM generate_series(1, 1200) AS n UNION ALL SELECT '{BIG_USER}', 3000;

    INSERT INTO tasks (user_id, title, completed, due_date, created_at, revision)
    SELECT
        CASE WHEN n % 21 = 0 THEN '{BIG_USER}' ELSE 'small-' || (n % 1200 + 1) END,
        'Task ' || (n * 7919 % 100003),
        n * 31 % 7 < 3,
        CASE WHEN n % 3 > 0 THEN timestamptz '2030-01-01Z' + (n * 10007 % 100003) * interval '1 minute' END,
        timestamptz '2024-01-01Z' + n * interval '1 second',
        n
    FROM generate_series(1, 63000) AS n;
"""


@pytest.fixture(scope="session")
def seeded_database(database_url: str) -> Iterator[str]:
    """A large database. Tests must roll their changes back."""
    with _seeded(database_url, SEED) as url:
        yield url


@pytest.fixture(scope="session")
def crowded_database(database_url: str) -> Iterator[str]:
    """A database in which the big user has fewer tasks. If the planner expected few matches, it would sort all."""
    with _seeded(database_url, CROWD) as url:
        yield url


@contextmanager
def _seeded(database_url: str, seed: str) -> Iterator[str]:
    name = f"plans_{uuid4().hex}"
    url = urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
    asyncio.run(_execute(database_url, f"CREATE DATABASE {name}"))
    try:
        asyncio.run(migrate(url, lambda _line: None))
        asyncio.run(_execute(url, seed, "VACUUM ANALYZE"))
        yield url
    finally:
        asyncio.run(_execute(database_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
async def planner(seeded_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the large database with the service's settings, in a transaction that is rolled back."""
    async with _planner(seeded_database) as connection:
        yield connection


@pytest.fixture
async def crowd_planner(crowded_database: str) -> AsyncIterator[asyncpg.Connection]:
    """The same for `crowded_database`."""
    async with _planner(crowded_database) as connection:
        yield connection


@asynccontextmanager
async def _planner(url: str) -> AsyncIterator[asyncpg.Connection]:
    settings = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
    connection = await asyncpg.connect(url, server_settings=settings)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def explain(connection: asyncpg.Connection, file: SqlFile, arguments: list[object]) -> dict[str, Any]:
    """The plan that the statement ran with. (EXPLAIN of an unprepared statement doesn't show the generic plan.)"""
    types = ", ".join(parameter.type for parameter in file.parameters)
    literals = [await connection.fetchval("SELECT quote_nullable($1)", _text(argument)) for argument in arguments]
    await connection.execute(f"PREPARE statement ({types}) AS {file.text}")
    plan = await connection.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE statement ({', '.join(literals)})"
    )
    await connection.execute("DEALLOCATE statement")
    [explained] = json.loads(plan)
    top: dict[str, Any] = explained["Plan"]
    return top


def _text(value: object) -> str | None:
    match value:
        case None:
            return None
        case bytes():
            return f"\\x{value.hex()}"
        case list():
            return f"{{{','.join(value)}}}"
    return str(value)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def indexes(plan: dict[str, Any]) -> set[str]:
    found = {name for node in nodes(plan) for name in node.get("Conflict Arbiter Indexes", [])}
    return found | {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def sorted_rows(plan: dict[str, Any]) -> list[float]:
    """The number of rows that each Sort read."""
    sorts = [node for node in nodes(plan) if node["Node Type"] in ("Sort", "Incremental Sort")]
    return [part["Actual Rows"] * part["Actual Loops"] for sort in sorts for part in sort["Plans"]]


def buffers(plan: dict[str, Any]) -> int:
    """The number of pages that were read, from memory or disk."""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def assert_uses_only_expected_indexes(plan: dict[str, Any], file: SqlFile) -> None:
    assert indexes(plan) == file.indexes
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
    assert max(sorted_rows(plan), default=0) <= PAGE_SIZE + 1


async def begin_after(count: int, file: SqlFile, planner: asyncpg.Connection) -> dict[str, object]:
    """The arguments for the page after the first `count` tasks of the big user."""
    page = await planner.fetchrow(file.text, *file.arguments(user_id=BIG_USER, page_size=count))
    assert page is not None
    assert page["next_id"] is not None
    return {"from_key": page["next_key"], "from_id": page["next_id"]}
