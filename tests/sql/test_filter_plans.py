"""Filters don't change the indexes that a list uses; what matches nothing is looked for once."""

from typing import Any

import asyncpg
import pytest

from tests.support.plans import (
    BIG_USER,
    BIG_USER_TASKS,
    PAGE_SIZE,
    assert_keeps_to_its_indexes,
    begin_after,
    buffers,
    explain,
    nodes,
)
from tests.support.sql_files import OWNED, SqlFile, for_each

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("plans")]

LISTS = [file for name, file in OWNED.items() if name.startswith("list_tasks_by_")]

# With values that enough of the big user's tasks have, also of those that come last in any order.
MATCHING: dict[str, dict[str, object]] = {
    "completed": {"completed": True},
    "pending": {"completed": False},
    "priorities": {"priorities": ["low", "high"]},
    "due_before": {"due_before": "2030-03-05T00:00:00Z"},
    "due_after": {"due_after": "2030-01-05T00:00:00Z"},
    "search": {"search": "TASK"},
}
MATCHING["all"] = {name: value for filters in MATCHING.values() for name, value in filters.items()}

# With values that none has.
MISSING: dict[str, dict[str, object]] = {
    "priorities": {"priorities": ["medium"]},
    "due_before": {"due_before": "2001-01-01T00:00:00Z"},
    "due_after": {"due_after": "2099-01-01T00:00:00Z"},
    "search": {"search": "milk"},
}
MISSING["all"] = MATCHING["all"] | {name: value for filters in MISSING.values() for name, value in filters.items()}
MISSING["all but for the search"] = MATCHING["all"] | MISSING["search"]

# None of the tasks has a priority: one in a hundred gets one.
PRIORITIES = "UPDATE tasks SET priority = 'high' WHERE user_id = $1 AND revision % 100 = 0"


async def page_after(count: int, file: SqlFile, planner: asyncpg.Connection) -> dict[str, object]:
    """The arguments for the page that follows so many of the big user's tasks."""
    first: dict[str, object] = {"user_id": BIG_USER, "page_size": PAGE_SIZE}
    return first | await begin_after(count, file, planner) if count else first


def scan_of_tasks(plan: dict[str, Any]) -> dict[str, Any]:
    """The one node that reads the table, which does so once."""
    [scan] = [node for node in nodes(plan) if node.get("Relation Name") == "tasks"]
    assert scan["Actual Loops"] == 1
    return scan


@pytest.mark.parametrize("after", [0, BIG_USER_TASKS // 2], ids=["first page", "middle"])
@for_each(LISTS)
async def test_a_page_of_what_matches_is_read_in_order_and_no_further(
    file: SqlFile, after: int, planner: asyncpg.Connection
) -> None:
    await planner.execute(PRIORITIES, BIG_USER)
    page = await page_after(after, file, planner)

    for filters in MATCHING.values():
        plan = await explain(planner, file, file.arguments(**page | filters))

        assert_keeps_to_its_indexes(plan, file)
        assert scan_of_tasks(plan)["Actual Rows"] == PAGE_SIZE + 1


@pytest.mark.parametrize("after", [0, BIG_USER_TASKS // 2], ids=["first page", "middle"])
@for_each(LISTS)
async def test_what_matches_nothing_is_looked_for_once(file: SqlFile, after: int, planner: asyncpg.Connection) -> None:
    page = await page_after(after, file, planner)
    rest = await explain(planner, file, file.arguments(**page | {"page_size": BIG_USER_TASKS}))

    for filters in MISSING.values():
        plan = await explain(planner, file, file.arguments(**page | filters))

        assert_keeps_to_its_indexes(plan, file)
        assert scan_of_tasks(plan)["Actual Rows"] == 0
        assert buffers(plan) <= buffers(rest)


@for_each(LISTS)
async def test_a_planner_who_expects_little_does_not_sort_all_tasks_of_the_user(
    file: SqlFile, crowd_planner: asyncpg.Connection
) -> None:
    plan = await explain(crowd_planner, file, file.arguments(user_id=BIG_USER, page_size=PAGE_SIZE))

    assert_keeps_to_its_indexes(plan, file)
    assert scan_of_tasks(plan)["Actual Rows"] == PAGE_SIZE + 1
