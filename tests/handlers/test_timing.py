"""How long an answer takes does not tell whether a task that isn't yours exists: the same is done for it as for none.

Time itself would need a machine that does nothing else. The same work takes the same time: the same answer, from the
same statements, with the same rows, for which PostgreSQL runs the same plan and looks at the same number of pages.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.support.api import TASKS, Api
from tests.support.plans import BIG_USER, buffers, explain, nodes
from tests.support.sql_files import OWNED
from todo_service.database.database import Database
from todo_service.database.statements import Statement

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("plans")]  # which has the data of the planner

REQUESTS = [
    ("GET", "", None),
    ("PATCH", "", {"title": "x"}),
    ("PUT", "", {"title": "x"}),
    ("PATCH", "/complete", None),
    ("PATCH", "/complete", {"completed": True}),
    ("DELETE", "", None),
]
USER = "small-1"
"""A user of the planner's data, who asks for tasks of the big user."""

STATEMENTS = ("get_task", "update_task", "complete_task", "delete_task")

# Of each node of a plan: what it is, the rows that it gave, and those that it read and did not give.
WORK = (
    *("Node Type", "Index Name", "Actual Rows", "Actual Loops", "Heap Fetches"),
    *("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck"),
)

OF_EACH_REQUEST = {b"Date", b"X-Request-ID"}
"""Headers that are never the same."""


def beside(task_id: UUID) -> UUID:
    """The id of no task, which belongs to the same place of an index."""
    return UUID(int=task_id.int ^ 1)


class Watch:
    """What the service asks of its database, and what it gets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, tuple[object, ...], dict[str, Any]]] = []
        run = Database.run

        async def watched_run(database: Database, statement: Statement, *args: Any) -> asyncpg.Record:
            row = await run(database, statement, *args)
            self.asked.append((statement.name, args, dict(row)))
            return row

        monkeypatch.setattr(Database, "run", watched_run)

    async def all_of(self, api: Api, method: str, task_id: str, suffix: str, **rest: Any) -> tuple[object, object]:
        """All that a request for a task makes the service do and say, apart from the task's id."""
        self.asked.clear()
        response = await api.call(method, f"{TASKS}/{task_id}{suffix}", **rest)
        headers = [header for header in response.raw_headers if header[0] not in OF_EACH_REQUEST]
        answer = (response.status, headers, (await response.text()).replace(task_id, "an id"))
        return answer, [
            (name, [argument for argument in args if str(argument) != task_id], row) for name, args, row in self.asked
        ]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


@pytest.mark.parametrize("headers", [{}, {"If-Match": '"1"'}], ids=["any revision", "one revision"])
@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
async def test_the_service_does_the_same_for_anothers_task_as_for_none(
    owner: Api, stranger: Api, watch: Watch, method: str, suffix: str, body: object, headers: dict[str, str]
) -> None:
    await stranger.create()
    theirs = (await owner.create())["id"]
    nothing = str(beside(UUID(theirs)))

    for_theirs, for_nothing = [
        await watch.all_of(stranger, method, task_id, suffix, json=body, headers=headers)
        for task_id in (theirs, nothing)
    ]

    assert for_theirs == for_nothing
    assert watch.asked, "else nothing was compared"


@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
async def test_what_the_service_does_for_ones_own_task_is_found_to_differ(
    owner: Api, watch: Watch, method: str, suffix: str, body: object
) -> None:
    mine = (await owner.create())["id"]
    nothing = str(beside(UUID(mine)))

    (answer, asked), (no_answer, nothing_asked) = [
        await watch.all_of(owner, method, task_id, suffix, json=body) for task_id in (mine, nothing)
    ]

    assert answer != no_answer
    assert asked != nothing_asked


@asynccontextmanager
async def undone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def work_of(planner: asyncpg.Connection, name: str, user_id: str, task_id: UUID) -> object:
    """What PostgreSQL does to run a statement: each node of its plan with its rows, and the pages of all."""
    file = OWNED[name]
    async with undone(planner):
        plan = await explain(planner, file, file.arguments(user_id=user_id, id=task_id))
    return [[*(node.get(key) for key in WORK), buffers(node)] for node in nodes(plan)]


@pytest.mark.parametrize("name", STATEMENTS)
async def test_postgresql_does_the_same_for_anothers_task_as_for_none(planner: asyncpg.Connection, name: str) -> None:
    for (task_id,) in await planner.fetch("SELECT id FROM tasks WHERE user_id = $1 LIMIT 20", BIG_USER):
        for_theirs, for_nothing = [await work_of(planner, name, USER, each) for each in (task_id, beside(task_id))]
        assert for_theirs == for_nothing


@pytest.mark.parametrize("name", STATEMENTS)
async def test_what_postgresql_does_for_ones_own_task_is_found_to_differ(
    planner: asyncpg.Connection, name: str
) -> None:
    mine = await planner.fetchval("SELECT id FROM tasks WHERE user_id = $1 LIMIT 1", USER)
    for_mine, for_nothing = [await work_of(planner, name, USER, each) for each in (mine, beside(mine))]
    assert for_mine != for_nothing
