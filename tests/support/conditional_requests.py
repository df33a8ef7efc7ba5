"""Requests with conditions (RFC 9110, section 13), header values for them, and checks of their responses."""

import itertools
from typing import Any

from aiohttp import ClientResponse

from tests.support.api import UNKNOWN_ID, Api, path_of, problem_of
from todo_service.http.cursors import ORDERS, SORTS

# The lists whose tags are tested.
QUERIES = [
    "",
    "?status=pending",
    "?status=completed&limit=1",
    "?priority=low&priority=high",
    "?due_after=2026-01-01T00:00:00Z&due_before=2030-01-01T00:00:00Z",
    "?q=nowhere",
    *(f"?sort={sort}&order={order}&limit=2" for sort, order in itertools.product(SORTS, ORDERS)),
]

# Method, suffix of the task's path, and body.
Call = tuple[str, str, dict[str, Any] | None]
# All requests that change a task in any state.
WRITES: list[Call] = [
    ("PUT", "", {"title": "Changed"}),
    ("PATCH", "", {"priority": "low"}),
    ("PATCH", "/complete", None),
    ("PATCH", "/complete", {"completed": True}),
    ("DELETE", "", None),
]
# Updates that change nothing in a new task.
WITHOUT_EFFECT: list[Call] = [
    ("PUT", "", {"title": " Buy milk "}),
    ("PATCH", "", {}),
    ("PATCH", "", {"completed": False, "priority": None}),
    ("PATCH", "/complete", {"completed": False}),
]

UNKNOWN_LIST_TAG = f'"{UNKNOWN_ID}-1"'

# Header values. Each line is sent as a separate header. {0} is the current tag.
MATCHING = [
    '"{0}"', "*", '\t"x", "{0}" ', '"{0}","x"', ', "{0}",,', '"a,b" ,"{0}"', '"x"\n"{0}"', '"{0}"\nW/"7"',
    '""\n\n"ä", "{0}"',
]  # fmt: skip
WEAKLY_MATCHING = ['W/"{0}"', 'W/"x", W/"{0}"', '"x"\nW/"{0}"']
NOT_MATCHING = [
    '"x"', '""', '"*"', 'W/"*"', '"0{0}"', '"{0}0"', '"+{0}"', '"-{0}"', '"{0},"', '"{0}\u00a0"', '"ä"', '"٢"', '"007"',
    '"99999999999999999999999999"', '"-1"', '"1e1"', '"null"', 'W/"x", "y"\n"z"', UNKNOWN_LIST_TAG,
]  # fmt: skip


async def change(api: Api, task: dict[str, Any]) -> dict[str, Any]:
    """Changes the title of a task. Returns the new task, with the next revision."""
    changed: dict[str, Any] = await (await api.call("PATCH", path_of(task), json={"title": "Changed since"})).json()
    return changed


async def assert_304(response: ClientResponse, tag: str, *, weak: bool = False) -> None:
    """Checks that a response is 304, with the matching tag of the request, the headers of a 200 and no content."""
    assert response.status == 304, await response.text()
    assert response.headers["ETag"] == ("W/" if weak else "") + f'"{tag}"'
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert response.headers["Vary"] == "Authorization, Origin, Accept-Encoding"
    assert await response.read() == b""
    assert "Content-Type" not in response.headers


async def assert_412(response: ClientResponse, tag: object) -> None:
    """Checks that a response is 412, with the current tag."""
    if response.method == "HEAD":
        assert (response.status, await response.read()) == (412, b"")
    else:
        await problem_of(response, 412, "precondition-failed")
    assert response.headers["ETag"] == f'"{tag}"'
