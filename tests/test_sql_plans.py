"""Each statement uses the indexes that its header names, and a list costs the same wherever its page begins."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.sql_files import MIGRATIONS, TASKS, SqlFile, for_each
from todo_service.migrations import migrate

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("plans")]  # the data is made once for all of them

BIG_USER = "big"
BIG_USER_TASKS = 100_000
PAGE_SIZE = 50

# One user with very many tasks among many with a few, in no order that an index would like.
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

INDEX_COMMENT = re.compile(
    r"-- Serves (?P<files>[^.:]+)[.:](?:.*\n\s*(?:--.*\n\s*)*).*?(?:INDEX|CONSTRAINT) (?P<index>\w+)"
)


@pytest.fixture(scope="session")
def seeded_database(database_url: str) -> Iterator[str]:
    """A database with much in it. Only to be read: each test rolls its changes back."""
    name = f"plans_{uuid4().hex}"
    url = urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
    asyncio.run(_execute(database_url, f"CREATE DATABASE {name}"))
    try:
        asyncio.run(migrate(url, lambda _line: None))
        asyncio.run(_execute(url, SEED, "VACUUM ANALYZE"))
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
    """A connection with the service's settings, in a transaction that is rolled back."""
    settings = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
    connection = await asyncpg.connect(seeded_database, server_settings=settings)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def explain(connection: asyncpg.Connection, file: SqlFile, arguments: list[object]) -> dict[str, Any]:
    """The plan that the statement was run with. (EXPLAIN of the statement itself would not show the generic plan.)"""
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
    return None if value is None else str(value)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def indexes(plan: dict[str, Any]) -> set[str]:
    found = {name for node in nodes(plan) for name in node.get("Conflict Arbiter Indexes", [])}
    return found | {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def sorted_rows(plan: dict[str, Any]) -> list[float]:
    """How many rows went into each Sort."""
    sorts = [node for node in nodes(plan) if node["Node Type"] in ("Sort", "Incremental Sort")]
    return [part["Actual Rows"] * part["Actual Loops"] for sort in sorts for part in sort["Plans"]]


def buffers(plan: dict[str, Any]) -> int:
    """How many pages were touched, in memory or not."""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def assert_keeps_to_its_indexes(plan: dict[str, Any], file: SqlFile) -> None:
    assert indexes(plan) == file.indexes
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
    assert max(sorted_rows(plan), default=0) <= PAGE_SIZE + 1


@for_each(TASKS.values())
async def test_a_plan_uses_the_indexes_that_the_header_names(file: SqlFile, planner: asyncpg.Connection) -> None:
    names = {parameter.name for parameter in file.parameters}
    task_id = await planner.fetchval("SELECT id FROM tasks WHERE user_id = $1 LIMIT 1", BIG_USER)
    given = {"user_id": BIG_USER, "id": task_id, "page_size": PAGE_SIZE, "completed": True, "title": "Changed"}

    plan = await explain(planner, file, file.arguments(**{name: given[name] for name in names & given.keys()}))

    assert_keeps_to_its_indexes(plan, file)


@for_each(file for name, file in TASKS.items() if "from_id" in {parameter.name for parameter in file.parameters})
async def test_a_page_costs_the_same_wherever_it_begins(file: SqlFile, planner: asyncpg.Connection) -> None:
    first: dict[str, object] = {"user_id": BIG_USER, "page_size": PAGE_SIZE}
    middle = first | await begin_after(BIG_USER_TASKS // 2, file, planner)
    last = first | await begin_after(BIG_USER_TASKS - PAGE_SIZE, file, planner)

    for completed in (None, True, False):
        pages = [first, middle, last]
        plans = [await explain(planner, file, file.arguments(**page, completed=completed)) for page in pages]

        for plan in plans:
            assert_keeps_to_its_indexes(plan, file)
            assert buffers(plan) <= 2 * buffers(plans[0]) + PAGE_SIZE


async def begin_after(count: int, file: SqlFile, planner: asyncpg.Connection) -> dict[str, object]:
    """The arguments for the page that follows so many of the big user's tasks."""
    page = await planner.fetchrow(file.text, *file.arguments(user_id=BIG_USER, page_size=count))
    assert page is not None
    assert page["next_id"] is not None
    return {"from_key": page["next_key"], "from_id": page["next_id"]}


async def test_each_index_is_expected_by_a_header(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename IN ('tasks', 'users')")

    assert {row["indexname"] for row in rows} == {index for file in TASKS.values() for index in file.indexes}


def test_a_comment_above_an_index_names_the_files_that_expect_it() -> None:
    text = "\n".join(file.text for file in MIGRATIONS)
    served = {
        match["index"]: set(re.findall(r"\w+", match["files"])) - {"and"} for match in INDEX_COMMENT.finditer(text)
    }

    assert served
    assert served == {index: {name for name, file in TASKS.items() if index in file.indexes} for index in served}
