"""Repeated parts of the SQL files are equal: the six ordered lists, and the CTEs."""

import re

import pytest

from tests.support.sql_files import USER_STATEMENTS, SqlFile

# The key that each list is sorted by, and the first key of a list without a cursor.
KEYS = {
    "created_asc": ("created_at", "coalesce($4::text::timestamptz, '-infinity')"),
    "created_desc": ("created_at", "coalesce($4::text::timestamptz, 'infinity')"),
    "title_asc": ('lower(title) COLLATE "C"', "coalesce($4, '')"),
    "title_desc": ('lower(title) COLLATE "C"', "coalesce($4, repeat(U&'\\+10FFFF', 201))"),
    "due_date_asc": (
        "coalesce(due_date, 'infinity')",
        "CASE WHEN $5::uuid IS NULL THEN '-infinity' ELSE coalesce($4::text::timestamptz, 'infinity') END",
    ),
    "due_date_desc": (
        "coalesce(due_date, '-infinity')",
        "CASE WHEN $5::uuid IS NULL THEN 'infinity' ELSE coalesce($4::text::timestamptz, '-infinity') END",
    ),
}
LISTS = [f"list_tasks_by_{name}" for name in KEYS]
FIRST_IDS = {"asc": "00000000-0000-0000-0000-000000000000", "desc": "ffffffff-ffff-ffff-ffff-ffffffffffff"}
NEXT_KEY = re.compile(r"(?<=AS tag,\n)    \(.*\) AS next_key,\n", re.DOTALL)

# The files that repeat each CTE. Descending lists are left out: their next_page has the opposite order.
REPEATED = {
    "owner": ["update_task", "complete_task", "delete_task"],
    "etag": ["list_tasks", *LISTS],
    "next_page": ["export_tasks", *(name for name in LISTS if name.endswith("asc"))],
}


def without_order(name: str) -> str:
    """The code of a list, with placeholders instead of its sort key and its direction."""
    key, first_key = KEYS[name]
    order = name.rpartition("_")[2]
    forward, backward, comparison = ("", " DESC", ">=") if order == "asc" else (" DESC", "", "<=")
    code = USER_STATEMENTS[f"list_tasks_by_{name}"].code
    for text, placeholder in (
        (f"        {key} AS key,\n", "<key>"),
        (f"AND ({key}, id) {comparison} (\n", "<comparison>"),
        (f"          {first_key},\n", "<first key>"),
        (FIRST_IDS[order], "<first id>"),
        (f"    ORDER BY {key}{forward}, id{forward}\n", "<order>"),
        (f" ORDER BY found.key{forward}, found.id{forward})\n", "<order of the page>"),
        (f"    ORDER BY key{backward}, id{backward}\n", "<opposite order>"),
    ):
        assert code.count(text) == 1, text
        code = code.replace(text, placeholder)
    assert len(NEXT_KEY.findall(code)) == 1
    return NEXT_KEY.sub("<next key>", code)


@pytest.mark.parametrize("name", KEYS)
def test_ordered_lists_differ_in_sort_key_and_direction_only(name: str) -> None:
    assert without_order(name) == without_order("created_asc")


def cte(file: SqlFile, name: str) -> str:
    """A CTE of a file, with the names of its parameters instead of their numbers."""
    names = {parameter.number: parameter.name for parameter in file.parameters}
    [text] = re.findall(rf"^(?:WITH )?{name} AS (.*?^\))", file.code, re.DOTALL | re.MULTILINE)
    return re.sub(r"\$(\d+)", lambda match: f"${names[int(match[1])]}", text)


@pytest.mark.parametrize("name", REPEATED)
def test_a_repeated_cte_is_equal_in_all_its_files(name: str) -> None:
    copies = {cte(USER_STATEMENTS[file], name) for file in REPEATED[name]}
    assert len(copies) == 1, copies


@pytest.mark.parametrize("file", ["complete_task", "delete_task"])
def test_writes_lock_and_compare_revisions_in_the_same_way(file: str) -> None:
    """The files differ only in the columns of `current` and in the condition for a change in `bump`."""
    for name, part in (("current", r"FROM owner.*"), ("bump", r"UPDATE.*?FROM current|AND \(\$if_match.*?\)\)$")):
        texts = [
            re.findall(part, cte(USER_STATEMENTS[each], name), re.DOTALL | re.MULTILINE)
            for each in (file, "update_task")
        ]
        assert texts[0], name
        assert texts[0] == texts[1], name
