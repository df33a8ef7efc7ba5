"""Response times don't reveal whether another user's task exists: the service does the same work as for an unknown id.

Measuring times would need an idle machine, so these tests compare the work: the responses, the statements, and their
rows. For each statement, they also compare PostgreSQL's plan and the number of pages that it reads.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.support.api import TASKS, Api
from tests.support.plans import BIG_USER, buffers, explain, nodes
from tests.support.sql_files import USER_STATEMENTS
from todo_service.database.database import Database
from todo_service.database.statements import Statement

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("plans")]  # these tests share the data of `planner`

REQUESTS = [
    ("GET", "", None),
    ("PATCH", "", {"title": "x"}),
    ("PUT", "", {"title": "x"}),
    ("PATCH", "/complete", None),
    ("PATCH", "/complete", {"completed": True}),
    ("DELETE", "", None),
]
USER = "small-1"
"""A user in the data of `planner`. This user requests tasks of BIG_USER."""

STATEMENTS = ("get_task", "update_task", "complete_task", "delete_task")

# The compared properties of a plan node: its kind, and the numbers of returned and discarded rows.
PROPERTIES = (
    *("Node Type", "Index Name", "Actual Rows", "Actual Loops", "Heap Fetches"),
    *("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck"),
)

VARYING_HEADERS = {b"Date", b"X-Request-ID"}
"""Headers that differ between two responses to the same request."""


def neighbour_of(task_id: UUID) -> UUID:
    """An unknown id that is next to the task's id in an index."""
    return UUID(int=task_id.int ^ 1)


class StatementLog:
    """The statements that the service runs, with their arguments and rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: list[tuple[str, tuple[object, ...], dict[str, Any]]] = []
        run = Database.run

        async def logged_run(database: Database, statement: Statement, *args: Any) -> asyncpg.Record:
            row = await run(database, statement, *args)
            self.entries.append((statement.name, args, dict(row)))
            return row

        monkeypatch.setattr(Database, "run", logged_run)

    async def call(self, api: Api, method: str, task_id: str, suffix: str, **kwargs: Any) -> tuple[object, object]:
        """Sends a request for a task. Returns the response and the statements, without the task's id."""
        self.entries.clear()
        response = await api.call(method, f"{TASKS}/{task_id}{suffix}", **kwargs)
        headers = [header for header in response.raw_headers if header[0] not in VARYING_HEADERS]
        answer = (response.status, headers, (await response.text()).replace(task_id, "an id"))
        return answer, [
            (name, [argument for argument in args if str(argument) != task_id], row) for name, args, row in self.entries
        ]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> StatementLog:
    return StatementLog(monkeypatch)


@pytest.mark.parametrize("headers", [{}, {"If-Match": '"1"'}], ids=["any revision", "one revision"])
@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
async def test_requests_for_another_users_task_and_an_unknown_id_run_the_same_statements(
    owner: Api, stranger: Api, log: StatementLog, method: str, suffix: str, body: object, headers: dict[str, str]
) -> None:
    await stranger.create()
    theirs = (await owner.create())["id"]
    unknown = str(neighbour_of(UUID(theirs)))

    for_another, for_unknown = [
        await log.call(stranger, method, task_id, suffix, json=body, headers=headers) for task_id in (theirs, unknown)
    ]

    assert for_another == for_unknown
    assert log.entries, "no statement was compared"


@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
async def test_the_users_own_task_gets_a_different_response_and_different_rows(
    owner: Api, log: StatementLog, method: str, suffix: str, body: object
) -> None:
    mine = (await owner.create())["id"]
    unknown = str(neighbour_of(UUID(mine)))

    (answer, entries), (unknown_answer, unknown_entries) = [
        await log.call(owner, method, task_id, suffix, json=body) for task_id in (mine, unknown)
    ]

    assert answer != unknown_answer
    assert entries != unknown_entries


@asynccontextmanager
async def rolled_back(connection: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def work_of(planner: asyncpg.Connection, name: str, user_id: str, task_id: UUID) -> object:
    """The work of PostgreSQL for a statement: each node of the plan, with its rows and pages."""
    file = USER_STATEMENTS[name]
    async with rolled_back(planner):
        plan = await explain(planner, file, file.arguments(user_id=user_id, id=task_id))
    return [[*(node.get(key) for key in PROPERTIES), buffers(node)] for node in nodes(plan)]


@pytest.mark.parametrize("name", STATEMENTS)
async def test_postgresql_does_the_same_work_for_another_users_task_and_an_unknown_id(
    planner: asyncpg.Connection, name: str
) -> None:
    for (task_id,) in await planner.fetch("SELECT id FROM tasks WHERE user_id = $1 LIMIT 20", BIG_USER):
        for_another, for_unknown = [
            await work_of(planner, name, USER, each) for each in (task_id, neighbour_of(task_id))
        ]
        assert for_another == for_unknown


@pytest.mark.parametrize("name", STATEMENTS)
async def test_postgresql_does_different_work_for_the_users_own_task(planner: asyncpg.Connection, name: str) -> None:
    mine = await planner.fetchval("SELECT id FROM tasks WHERE user_id = $1 LIMIT 1", USER)
    for_mine, for_unknown = [await work_of(planner, name, USER, each) for each in (mine, neighbour_of(mine))]
    assert for_mine != for_unknown
