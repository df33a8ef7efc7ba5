"""Each statement uses the indexes that its header names, and a list costs the same wherever its page begins."""

import re

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
)
from tests.support.sql_files import MIGRATIONS, OWNED, SqlFile, for_each

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("plans")]  # the data is made once for all of them

INDEX_COMMENT = re.compile(
    r"-- Serves (?P<files>[^.:]+)[.:](?:.*\n\s*(?:--.*\n\s*)*).*?(?:INDEX|CONSTRAINT) (?:CONCURRENTLY )?(?P<index>\w+)"
)


@for_each(OWNED.values())
async def test_a_plan_uses_the_indexes_that_the_header_names(file: SqlFile, planner: asyncpg.Connection) -> None:
    names = {parameter.name for parameter in file.parameters}
    task_id = await planner.fetchval("SELECT id FROM tasks WHERE user_id = $1 LIMIT 1", BIG_USER)
    given = {"user_id": BIG_USER, "id": task_id, "page_size": PAGE_SIZE, "completed": True, "title": "Changed"}

    plan = await explain(planner, file, file.arguments(**{name: given[name] for name in names & given.keys()}))

    assert_keeps_to_its_indexes(plan, file)


@for_each(file for name, file in OWNED.items() if "from_id" in {parameter.name for parameter in file.parameters})
async def test_a_page_costs_the_same_wherever_it_begins(file: SqlFile, planner: asyncpg.Connection) -> None:
    first: dict[str, object] = {"user_id": BIG_USER, "page_size": PAGE_SIZE}
    middle = first | await begin_after(BIG_USER_TASKS // 2, file, planner)
    last = first | await begin_after(BIG_USER_TASKS - PAGE_SIZE, file, planner)

    has_filters = "completed" in {parameter.name for parameter in file.parameters}
    for filters in [{"completed": each} for each in (None, True, False)] if has_filters else [{}]:
        pages = [first, middle, last]
        plans = [await explain(planner, file, file.arguments(**page, **filters)) for page in pages]

        for plan in plans:
            assert_keeps_to_its_indexes(plan, file)
            assert buffers(plan) <= 2 * buffers(plans[0]) + PAGE_SIZE


async def test_each_index_is_expected_by_a_header(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename IN ('tasks', 'users')")

    assert {row["indexname"] for row in rows} == {index for file in OWNED.values() for index in file.indexes}


def test_a_comment_above_an_index_names_the_files_that_expect_it() -> None:
    text = "\n".join(file.text for file in MIGRATIONS)
    served = {
        match["index"]: set(re.findall(r"\w+", match["files"])) - {"and"} for match in INDEX_COMMENT.finditer(text)
    }

    assert served
    assert served == {index: {name for name, file in OWNED.items() if index in file.indexes} for index in served}
