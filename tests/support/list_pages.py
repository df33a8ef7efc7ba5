"""Pages of the list: following their links, and the expected order of tasks."""

import itertools
import re
from typing import Any
from urllib.parse import urlencode

from tests.support.api import TASKS, Api, path_of
from todo_service.http.cursors import ORDERS, SORTS

Query = list[tuple[str, str]]

LISTS = list(itertools.product(SORTS, ORDERS))
LINK = re.compile(r'<(\?[^>]+)>; rel="next"')


def address(query: Query) -> str:
    return f"{TASKS}?{urlencode(query)}"


def next_page(headers: Any) -> str | None:
    """The address of the next page from the `Link` header; None if there is no such header."""
    if "Link" not in headers:
        return None
    match = LINK.fullmatch(headers["Link"])
    assert match
    return TASKS + match[1]  # relative to the URL of the request


async def page(api: Api, address: str) -> tuple[list[dict[str, Any]], str | None]:
    response = await api.call("GET", address)
    assert response.status == 200, await response.text()
    return await response.json(), next_page(response.headers)


async def walk(api: Api, address: str) -> list[dict[str, Any]]:
    """The tasks of all pages, from the page at this address on."""
    tasks: list[dict[str, Any]] = []
    following: str | None = address
    while following:
        some, following = await page(api, following)
        tasks += some
    return tasks


async def titles(api: Api, *query: tuple[str, str]) -> list[str]:
    """The titles of the matching tasks, sorted. Each sort and order must list the same tasks."""
    lists = [
        [task["title"] for task in await walk(api, address([*query, ("sort", sort), ("order", order)]))]
        for sort, order in LISTS
    ]
    [found] = {tuple(sorted(each)) for each in lists}
    return list(found)


def key_of(task: dict[str, Any], sort: str, order: str) -> tuple[Any, str]:
    """The sort key in the documented order: tasks without a due date are last in both orders."""
    if sort == "created":
        return task["created_at"], task["id"]
    if sort == "title":
        return task["title"].lower().encode(), task["id"]
    return task["due_date"] or ("~" if order == "asc" else ""), task["id"]


def in_order(tasks: list[dict[str, Any]], sort: str, order: str) -> list[dict[str, Any]]:
    return sorted(tasks, key=lambda task: key_of(task, sort, order), reverse=order == "desc")


async def create_some(api: Api, count: int) -> list[dict[str, Any]]:
    """Creates tasks, half of them completed. Some have equal due dates or titles; some titles differ only in case."""
    titles = ["apple", "Banana", "banana", "Äpfel", "äpfel", "_", "zoo", "Zoë", "🍎"]
    tasks = []
    for n in range(count):
        due = f"2026-0{n % 4 + 1}-01T00:00:00Z" if n % 3 else None
        task = await api.create(titles[n % len(titles)], due_date=due)
        if n % 2:
            task = await (await api.call("PATCH", f"{path_of(task)}/complete")).json()
        tasks.append(task)
    return tasks
