"""Filters of the list: status, priority, due dates and search, alone and combined, on all pages.

test_search.py has the rules for comparing texts.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unicodedata import normalize
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.api import Api, path_of
from tests.support.list_pages import LISTS, Query, address, in_order, page, titles, walk
from todo_service.database.database import Database
from todo_service.database.statements import Statement
from todo_service.http.parameters import STATUSES
from todo_service.http.schemas import PRIORITIES

pytestmark = pytest.mark.database

TIME = datetime(2026, 5, 1, 12, tzinfo=UTC)


def rfc_3339(time: datetime, offset: timedelta = timedelta()) -> str:
    return time.astimezone(timezone(offset)).isoformat()


def contains(text: str, searched: str) -> bool:
    """Whether a search finds a text. Only a search outside ASCII compares normal forms."""
    if searched.isascii():
        return searched.lower() in re.sub("[A-Z]+", lambda letters: letters[0].lower(), text)
    return folded(searched) in folded(text)


def folded(text: str) -> str:
    """The text in lower case and NFC. lower() can return a text that is not in NFC."""
    return normalize("NFC", normalize("NFC", text).lower())


def matches(task: dict[str, Any], query: Query) -> bool:
    """Whether a list with these filters contains this task."""
    filters = dict(query)
    priorities = [value for name, value in query if name == "priority"]
    due = task["due_date"] and datetime.fromisoformat(task["due_date"])
    texts = [text for text in (task["title"], task["description"]) if text is not None]
    return (
        filters.get("status", "all") in ("all", "completed" if task["completed"] else "pending")
        and (not priorities or task["priority"] in priorities)
        and ("due_before" not in filters or bool(due and due < datetime.fromisoformat(filters["due_before"])))
        and ("due_after" not in filters or bool(due and due > datetime.fromisoformat(filters["due_after"])))
        and any(contains(text, filters.get("q", "")) for text in texts)
    )


# Few characters, so that searches match. `%`, `_` and the backslash are special characters of LIKE.
# Python and PostgreSQL lower-case these letters in the same way. PostgreSQL converts each character on its own.
# The marks U+0301, U+0323 and U+0331 have several orders, and not every letter has one character with each mark.
LETTERS = st.text(st.sampled_from("aAéÉhH\u212a\u0301\u0323\u0331𐐀𐐨%_\\"), min_size=1, max_size=3)
TIMES = st.builds(lambda n: TIME + n * timedelta(microseconds=1), st.integers(-1, 1))
DUE_TIMES = st.builds(rfc_3339, TIMES, st.sampled_from([timedelta(minutes=n) for n in (0, 345, -210)]))
NEW = st.tuples(
    LETTERS.map(lambda letters: f"x{letters}x"),  # titles are trimmed
    st.none() | LETTERS,
    st.booleans(),
    st.none() | st.sampled_from(PRIORITIES),
    st.none() | TIMES,
)
FILTERS: dict[str, st.SearchStrategy[Query]] = {
    "status": st.sampled_from(tuple(STATUSES)).map(lambda status: [("status", status)]),
    "priority": st.lists(st.sampled_from(PRIORITIES), max_size=3).map(
        lambda some: [("priority", each) for each in some]
    ),
    "due_before": DUE_TIMES.map(lambda due: [("due_before", due)]),
    "due_after": DUE_TIMES.map(lambda due: [("due_after", due)]),
    "q": LETTERS.map(lambda letters: [("q", letters)]),
}
# Most queries have at most two filters, because hardly any task matches all filters.
COMBINED = st.sets(st.sampled_from(sorted(FILTERS)), max_size=2) | st.just(set(FILTERS))
QUERIES = COMBINED.flatmap(lambda names: st.tuples(*(FILTERS[name] for name in sorted(names)))).map(
    lambda parts: [parameter for part in parts for parameter in part]
)

# Inserts a task for each element of the arrays. Their creation times differ.
INSERT = """
    INSERT INTO tasks (user_id, title, description, completed, priority, due_date, created_at, revision)
    SELECT $1, title, description, completed, priority, due_date, now() + n * interval '1 second', n
    FROM unnest($2::text[], $3::text[], $4::boolean[], $5::text[], $6::timestamptz[])
        WITH ORDINALITY AS new (title, description, completed, priority, due_date, n)
"""


@pytest.mark.parametrize(("sort", "order"), LISTS)
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tasks=st.lists(NEW, min_size=1, max_size=10),
    queries=st.lists(QUERIES, min_size=5, max_size=10),
    limit=st.integers(1, 4),
)
async def test_pages_contain_exactly_the_tasks_that_match_all_filters(
    make_user: Callable[[], Api],
    connection: asyncpg.Connection,
    sort: str,
    order: str,
    tasks: list[tuple[Any, ...]],
    queries: list[Query],
    limit: int,
) -> None:
    api = make_user()
    await connection.execute("INSERT INTO users (id, revision) VALUES ($1, 99)", api.user_id)
    await connection.execute(INSERT, api.user_id, *map(list, zip(*tasks, strict=True)))
    everything = await api.tasks()

    for query in queries:
        found = await walk(api, address([("sort", sort), ("order", order), ("limit", str(limit)), *query]))
        assert found == in_order([task for task in everything if matches(task, query)], sort, order)


async def test_a_link_repeats_the_parameters_of_the_request(owner: Api) -> None:
    due = {"due_date": rfc_3339(TIME)}
    for priority in ("low", "high", "low"):
        await owner.create("50 % & + É", priority=priority, **due)
    query = [
        ("priority", "high"),
        ("q", "% & + é"),
        ("due_after", rfc_3339(TIME - timedelta(days=1), timedelta(hours=2))),
        ("status", "pending"),
        ("priority", "low"),
        ("due_before", rfc_3339(TIME + timedelta(days=1), -timedelta(hours=2))),
        ("limit", "1"),
        ("priority", "low"),
        ("sort", "created"),
        ("order", "desc"),
    ]

    _, second = await page(owner, address(query))
    assert second
    _, third = await page(owner, second)
    assert third

    for link in (second, third):
        *repeated, (last, _) = parse_qsl(urlsplit(link).query)
        assert repeated == list(dict.fromkeys(query)), "each once"
        assert last == "cursor"
    assert [task["priority"] for task in await walk(owner, address(query))] == ["low", "high", "low"]


async def test_a_cursor_works_with_other_filters(owner: Api) -> None:
    oldest, _, _ = [await owner.create(title) for title in ("a", "b", "b")]
    _, following = await page(owner, address([("q", "b"), ("limit", "1")]))
    assert following
    cursor = dict(parse_qsl(urlsplit(following).query))["cursor"]

    assert await walk(owner, address([("q", "a"), ("cursor", cursor)])) == [oldest]


async def test_due_before_and_due_after_exclude_the_time_itself_and_tasks_without_a_due_date(owner: Api) -> None:
    await owner.create("none")
    for n in (-1, 0, 1):
        await owner.create(str(n), due_date=rfc_3339(TIME + n * timedelta(microseconds=1), timedelta(hours=1)))
    time = rfc_3339(TIME)

    assert await titles(owner, ("due_before", time)) == ["-1"]
    assert await titles(owner, ("due_after", time)) == ["1"]
    assert await titles(owner, ("due_after", time), ("due_before", time)) == []
    assert await titles(owner, ("due_before", "9999-12-31T23:59:59.999999Z")) == ["-1", "0", "1"]
    assert await titles(owner, ("due_after", "0001-01-01T00:00:00Z")) == ["-1", "0", "1"]


async def test_a_filter_without_matches_gets_an_empty_list_without_a_link(owner: Api) -> None:
    for _ in range(2):
        await owner.create(priority="low")

    for query in ([("q", uuid4().hex)], [("priority", "high")], [("due_after", "0001-01-01T00:00:00Z")]):
        response = await owner.call("GET", address([*query, ("limit", "1")]))

        assert (response.status, json.loads(await response.read())) == (200, [])
        assert "Link" not in response.headers


async def test_a_deleted_task_matches_no_filter(owner: Api) -> None:
    task = await owner.create("Buy milk", priority="high")
    await owner.call("DELETE", path_of(task))

    for query in ([("q", "milk")], [("priority", "high")]):
        assert await walk(owner, address(query)) == []


async def test_a_filtered_list_gets_304_until_a_task_changes(owner: Api) -> None:
    task = await owner.create("Buy milk", priority="high")
    query = address([("q", "MILK"), ("priority", "high"), ("due_before", "2026-01-01T00:00:00Z")])
    tag = (await owner.call("GET", query)).headers["ETag"]

    same = await owner.call("GET", query, headers={"If-None-Match": tag})
    await owner.call("PATCH", path_of(task), json={"due_date": "2025-01-01T00:00:00Z"})
    changed = await owner.call("GET", query, headers={"If-None-Match": tag})

    assert (same.status, await same.read(), same.headers["ETag"]) == (304, b"", tag)
    assert (changed.status, [each["id"] for each in await changed.json()]) == (200, [task["id"]])
    assert changed.headers["ETag"] != tag


@pytest.mark.parametrize(
    ("query", "unbatched"),
    [
        ("q=nothing", True),
        ("priority=low&sort=title", True),
        ("due_before=2026-01-01T00:00:00Z", True),
        ("due_after=2026-01-01T00:00:00Z", True),
        ("status=pending", False),
        ("sort=title", False),
        ("", False),
    ],
)
async def test_a_list_with_filters_other_than_status_is_not_batched(
    owner: Api, monkeypatch: pytest.MonkeyPatch, query: str, unbatched: bool
) -> None:
    sent = []
    run = Database.run

    async def record(self: Database, statement: Statement, *args: Any) -> asyncpg.Record:
        sent.append(statement.unbatched)
        return await run(self, statement, *args)

    monkeypatch.setattr(Database, "run", record)
    await owner.tasks(**dict(parse_qsl(query)))
    assert sent == [unbatched]
