"""Pages of the list: sorts, orders, limits, links and cursors."""

import base64
import itertools
import json
from collections.abc import Callable
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.api import TASKS, UNKNOWN_ID, Api, path_of, problem_of
from tests.support.list_pages import LISTS, create_some, in_order, page, walk
from todo_service.http.cursors import ORDERS

pytestmark = pytest.mark.database


@pytest.mark.parametrize(("sort", "order"), LISTS)
@pytest.mark.parametrize("limit", [1, 4, 1000])
async def test_pages_contain_every_task_in_order(owner: Api, stranger: Api, sort: str, order: str, limit: int) -> None:
    await create_some(stranger, 3)
    tasks = await create_some(owner, 11)
    assert await walk(owner, f"{TASKS}?sort={sort}&order={order}&limit={limit}") == in_order(tasks, sort, order)


async def test_the_default_order_is_newest_first(owner: Api) -> None:
    tasks = await create_some(owner, 5)
    assert await owner.tasks() == tasks[::-1] == await owner.tasks(sort="created", order="desc", status="all")


@pytest.mark.parametrize("sort", ["title", "due_date"])
async def test_the_default_order_of_titles_and_due_dates_is_ascending(owner: Api, sort: str) -> None:
    tasks = await create_some(owner, 7)
    assert await owner.tasks(sort=sort) == in_order(tasks, sort, "asc")


async def test_the_last_page_has_no_link(owner: Api) -> None:
    await create_some(owner, 3)
    assert await page(owner, f"{TASKS}?limit=3") == (await owner.tasks(), None)


async def test_a_page_after_the_last_task_is_empty_and_has_no_link(owner: Api) -> None:
    """The link was sent before the tasks of the next page were deleted."""
    await create_some(owner, 3)
    _, following = await page(owner, f"{TASKS}?limit=1")
    assert following
    for task in (await owner.tasks())[1:]:
        await owner.call("DELETE", path_of(task))

    assert await page(owner, following) == ([], None)


async def test_a_page_has_at_most_1000_tasks(owner: Api, connection: asyncpg.Connection) -> None:
    await owner.create()
    await connection.execute(
        "INSERT INTO tasks (user_id, title, revision) SELECT $1, 'x', 1 FROM generate_series(1, 1000)", owner.user_id
    )
    tasks, following = await page(owner, TASKS)
    assert (len(tasks), len(await walk(owner, TASKS))) == (1000, 1001)
    assert following


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_contain_titles_of_the_highest_code_points(owner: Api, order: str) -> None:
    tasks = [await owner.create(title) for title in ("\U0010ffff" * 200, "\U0010ffff", "\x01", "\U0010ffff" * 199)]
    assert await walk(owner, f"{TASKS}?sort=title&order={order}&limit=1") == in_order(tasks, "title", order)


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_contain_the_earliest_and_latest_due_dates(owner: Api, order: str) -> None:
    ends = ["9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", None, "9999-12-31T23:59:59.999999Z", None]
    tasks = [await owner.create(due_date=due) for due in ends]
    assert await walk(owner, f"{TASKS}?sort=due_date&order={order}&limit=1") == in_order(tasks, "due_date", order)


# The writes between two pages, each with a number that chooses its task or its values.
WRITES = st.lists(st.tuples(st.sampled_from(["create", "delete", "change"]), st.integers(0, 99)), max_size=4)


@pytest.mark.parametrize(("sort", "order"), LISTS)
@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    titles=st.lists(st.sampled_from("aAbBcÄ"), min_size=1, max_size=12),
    due_dates=st.lists(st.sampled_from([None, 1, 2]), min_size=12, max_size=12),
    limit=st.integers(1, 4),
    writes=st.lists(WRITES, max_size=12),
)
async def test_pages_contain_each_unchanged_task_once_while_other_tasks_change(
    make_user: Callable[[], Api],
    sort: str,
    order: str,
    titles: list[str],
    due_dates: list[int | None],
    limit: int,
    writes: list[list[tuple[str, int]]],
) -> None:
    api = make_user()
    existing = {}
    for title, due in zip(titles, due_dates, strict=False):
        task = await api.create(title, due_date=due and f"2026-01-0{due}T00:00:00Z")
        existing[task["id"]] = task
    changed: set[str] = set()
    seen: list[dict[str, Any]] = []
    following: str | None = f"{TASKS}?sort={sort}&order={order}&limit={limit}"
    pending = iter(writes)
    while following:
        some, following = await page(api, following)
        seen += some
        for action, number in next(pending, []):
            if action == "create":
                await api.create("aBcÄ"[number % 4], due_date=f"2026-01-0{number % 3 + 1}T00:00:00Z")
                continue
            task = list(existing.values())[number % len(existing)]
            body = {"title": "changed", "due_date": "2025-01-01T00:00:00Z"} if action == "change" else None
            await api.call("DELETE" if action == "delete" else "PATCH", path_of(task), json=body)
            changed.add(task["id"])
    unchanged = [task for task in existing.values() if task["id"] not in changed]
    assert [task for task in seen if task["id"] in {each["id"] for each in unchanged}] == in_order(
        unchanged, sort, order
    )


async def test_pages_contain_each_task_once_if_all_have_the_same_creation_time(
    owner: Api, connection: asyncpg.Connection
) -> None:
    await owner.create()
    await connection.execute(
        "INSERT INTO tasks (user_id, title, revision, created_at) "
        "SELECT $1, 'x', 1, '2026-01-01T00:00:00Z' FROM generate_series(1, 9)",
        owner.user_id,
    )
    for order in ORDERS:
        tasks = await walk(owner, f"{TASKS}?order={order}&limit=2")
        assert tasks == in_order(tasks, "created", order)
        assert len({task["id"] for task in tasks}) == 10


# Cursors


async def test_a_cursor_of_another_sort_or_order_gets_400(owner: Api) -> None:
    await create_some(owner, 3)
    for (sort, order), (other_sort, other_order) in itertools.permutations(LISTS, 2):
        _, following = await page(owner, f"{TASKS}?sort={sort}&order={order}&limit=1")
        assert following
        [cursor] = parse_qs(urlsplit(following).query)["cursor"]
        response = await owner.call("GET", f"{TASKS}?sort={other_sort}&order={other_order}&cursor={cursor}")
        assert list((await problem_of(response, 400, "invalid-query"))["errors"]) == ["cursor"]


async def test_a_damaged_cursor_gets_400(owner: Api) -> None:
    await create_some(owner, 2)
    _, following = await page(owner, f"{TASKS}?limit=1")
    assert following
    [cursor] = parse_qs(urlsplit(following).query)["cursor"]
    damaged = [cursor[:n] + ("A" if cursor[n] != "A" else "B") + cursor[n + 1 :] for n in range(len(cursor))]
    for text in ["", "x", "é", cursor[:-1], cursor + "A", cursor + "%3D", cursor + "%00", "A" * 5000, *damaged]:
        response = await owner.call("GET", f"{TASKS}?cursor={text}")
        assert list((await problem_of(response, 400, "invalid-query"))["errors"]) == ["cursor"]


def forge(*payload: Any) -> str:
    """A cursor with this payload and a valid checksum."""
    octets = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(blake2b(octets, digest_size=6).digest() + octets).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "payload",
    [
        (),
        ("created", "desc"),
        ("created", "desc", None, UNKNOWN_ID),
        ("created", "desc", "yesterday", UNKNOWN_ID),
        ("created", "desc", "infinity", UNKNOWN_ID),
        ("created", "desc", "2026-02-30T00:00:00Z", UNKNOWN_ID),
        ("created", "desc", "2026-01-01", UNKNOWN_ID),
        ("created", "desc", 1, UNKNOWN_ID),
        ("created", "desc", "2026-01-01T00:00:00." + "0" * 10_000 + "Z", UNKNOWN_ID),
        ("due_date", "asc", "9999-12-31T23:59:59-23:00", UNKNOWN_ID),
        ("due_date", "asc", "0001-01-01T00:00:00.000000+23:00", UNKNOWN_ID),
        ("created", "desc", "2026-02-30T00:00:00.000000Z", UNKNOWN_ID),
        ("created", "desc", "2026-01-01T00:00:00.000000Z", "1"),
        ("created", "desc", "2026-01-01T00:00:00.000000Z", 1),
        ("created", "desc", "2026-01-01T00:00:00.000000Z", None),
        ("created", "desc", ["2026-01-01T00:00:00Z"], UNKNOWN_ID),
        ("created", "desc", "2026-01-01T00:00:00.000000Z", UNKNOWN_ID, 1),
        ({}, [], 1, 2),
    ],
    ids=lambda payload: str(payload)[:60],
)
async def test_a_forged_cursor_gets_400(owner: Api, payload: tuple[Any, ...]) -> None:
    response = await owner.call("GET", TASKS, params={"cursor": forge(*payload)})
    await problem_of(response, 400, "invalid-query")


@pytest.mark.parametrize("key", ["\0", "\ud800", None, 5])
async def test_a_cursor_with_a_forged_title_gets_400(owner: Api, key: Any) -> None:
    response = await owner.call(
        "GET", TASKS, params={"sort": "title", "cursor": forge("title", "asc", key, UNKNOWN_ID)}
    )
    await problem_of(response, 400, "invalid-query")
