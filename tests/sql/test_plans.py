"""Plans: each statement uses the indexes in its header, and every page of a list costs as much as the first."""

import re
from typing import Any

import asyncpg
import pytest

from tests.support.plans import (
    BIG_USER,
    BIG_USER_TASKS,
    PAGE_SIZE,
    assert_uses_only_expected_indexes,
    begin_after,
    buffers,
    explain,
    nodes,
)
from tests.support.sql_files import MIGRATIONS, USER_STATEMENTS, SqlFile, for_each

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("plans")]  # only one process creates the data

INDEX_COMMENT = re.compile(
    r"-- Serves (?P<files>[^.:]+)[.:](?:.*\n\s*(?:--.*\n\s*)*).*?(?:INDEX|CONSTRAINT) (?:CONCURRENTLY )?(?P<index>\w+)"
)

LISTS = [file for name, file in USER_STATEMENTS.items() if name.startswith("list_tasks_by_")]

# Filters that match many tasks of the big user, also the last tasks in every order.
MATCHING: dict[str, dict[str, object]] = {
    "completed": {"completed": True},
    "pending": {"completed": False},
    "priorities": {"priorities": ["low", "high"]},
    "due_before": {"due_before": "2030-03-05T00:00:00Z"},
    "due_after": {"due_after": "2030-01-05T00:00:00Z"},
    "search": {"search": "TASK"},
}
MATCHING["all"] = {name: value for filters in MATCHING.values() for name, value in filters.items()}

# Filters that match no task of the big user.
MISSING: dict[str, dict[str, object]] = {
    "priorities": {"priorities": ["medium"]},
    "due_before": {"due_before": "2001-01-01T00:00:00Z"},
    "due_after": {"due_after": "2099-01-01T00:00:00Z"},
    "search": {"search": "milk"},
}
MISSING["all"] = MATCHING["all"] | {name: value for filters in MISSING.values() for name, value in filters.items()}
MISSING["all match but the search"] = MATCHING["all"] | MISSING["search"]

# The tasks have no priorities. This sets one for every hundredth task.
PRIORITIES = "UPDATE tasks SET priority = 'high' WHERE user_id = $1 AND revision % 100 = 0"


# Indexes


@for_each(USER_STATEMENTS.values())
async def test_a_plan_uses_exactly_the_indexes_in_the_header(file: SqlFile, planner: asyncpg.Connection) -> None:
    names = {parameter.name for parameter in file.parameters}
    task_id = await planner.fetchval("SELECT id FROM tasks WHERE user_id = $1 LIMIT 1", BIG_USER)
    given = {"user_id": BIG_USER, "id": task_id, "page_size": PAGE_SIZE, "completed": True, "title": "Changed"}

    plan = await explain(planner, file, file.arguments(**{name: given[name] for name in names & given.keys()}))

    assert_uses_only_expected_indexes(plan, file)


async def test_each_index_is_in_the_header_of_a_statement(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename IN ('tasks', 'users')")

    assert {row["indexname"] for row in rows} == {index for file in USER_STATEMENTS.values() for index in file.indexes}


def test_the_comment_above_an_index_names_the_files_that_use_it() -> None:
    text = "\n".join(file.text for file in MIGRATIONS)
    served = {
        match["index"]: set(re.findall(r"\w+", match["files"])) - {"and"} for match in INDEX_COMMENT.finditer(text)
    }

    assert served
    assert served == {
        index: {name for name, file in USER_STATEMENTS.items() if index in file.indexes} for index in served
    }


# Pages


@for_each(
    file for name, file in USER_STATEMENTS.items() if "from_id" in {parameter.name for parameter in file.parameters}
)
async def test_every_page_costs_as_much_as_the_first(file: SqlFile, planner: asyncpg.Connection) -> None:
    first: dict[str, object] = {"user_id": BIG_USER, "page_size": PAGE_SIZE}
    middle = first | await begin_after(BIG_USER_TASKS // 2, file, planner)
    last = first | await begin_after(BIG_USER_TASKS - PAGE_SIZE, file, planner)

    has_filters = "completed" in {parameter.name for parameter in file.parameters}
    for filters in [{"completed": each} for each in (None, True, False)] if has_filters else [{}]:
        pages = [first, middle, last]
        plans = [await explain(planner, file, file.arguments(**page, **filters)) for page in pages]

        for plan in plans:
            assert_uses_only_expected_indexes(plan, file)
            assert buffers(plan) <= 2 * buffers(plans[0]) + PAGE_SIZE


# Filters


async def page_after(count: int, file: SqlFile, planner: asyncpg.Connection) -> dict[str, object]:
    """The arguments for the page after the first `count` tasks of the big user."""
    first: dict[str, object] = {"user_id": BIG_USER, "page_size": PAGE_SIZE}
    return first | await begin_after(count, file, planner) if count else first


def scan_of_tasks(plan: dict[str, Any]) -> dict[str, Any]:
    """The only node of the plan that reads the table tasks. It must run once."""
    [scan] = [node for node in nodes(plan) if node.get("Relation Name") == "tasks"]
    assert scan["Actual Loops"] == 1
    return scan


@pytest.mark.parametrize("after", [0, BIG_USER_TASKS // 2], ids=["first page", "middle"])
@for_each(LISTS)
async def test_a_filtered_page_reads_only_its_own_rows_in_order(
    file: SqlFile, after: int, planner: asyncpg.Connection
) -> None:
    await planner.execute(PRIORITIES, BIG_USER)
    page = await page_after(after, file, planner)

    for filters in MATCHING.values():
        plan = await explain(planner, file, file.arguments(**page | filters))

        assert_uses_only_expected_indexes(plan, file)
        assert scan_of_tasks(plan)["Actual Rows"] == PAGE_SIZE + 1


@pytest.mark.parametrize("after", [0, BIG_USER_TASKS // 2], ids=["first page", "middle"])
@for_each(LISTS)
async def test_a_filter_without_matches_reads_the_tasks_once(
    file: SqlFile, after: int, planner: asyncpg.Connection
) -> None:
    page = await page_after(after, file, planner)
    rest = await explain(planner, file, file.arguments(**page | {"page_size": BIG_USER_TASKS}))

    for filters in MISSING.values():
        plan = await explain(planner, file, file.arguments(**page | filters))

        assert_uses_only_expected_indexes(plan, file)
        assert scan_of_tasks(plan)["Actual Rows"] == 0
        assert buffers(plan) <= buffers(rest)


@for_each(LISTS)
async def test_the_planner_does_not_sort_all_tasks_if_it_expects_few_matches(
    file: SqlFile, crowd_planner: asyncpg.Connection
) -> None:
    plan = await explain(crowd_planner, file, file.arguments(user_id=BIG_USER, page_size=PAGE_SIZE))

    assert_uses_only_expected_indexes(plan, file)
    assert scan_of_tasks(plan)["Actual Rows"] == PAGE_SIZE + 1
