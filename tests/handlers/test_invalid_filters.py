"""Invalid filters of the list: the problem names each of them and its valid values."""

from urllib.parse import urlencode

import pytest
from aiohttp import ClientResponse
from yarl import URL

from tests.support.api import TASKS, Api, problem_of

pytestmark = pytest.mark.database

RFC_3339 = "Must be an RFC 3339 date-time like 2026-12-31T23:59:59Z."
LENGTH = "Must be 1 to 200 characters long."
ONE_OF = "Must be one of low, medium, high."
ONCE = "Must be given only once."

INVALID = [
    ("priority=urgent", "priority", ONE_OF),
    ("priority=", "priority", ONE_OF),
    ("priority=High", "priority", ONE_OF),
    ("priority=low,high", "priority", ONE_OF),
    ("priority=low&priority=urgent&priority=high", "priority", ONE_OF),
    ("priority=low%00", "priority", "Must not contain the character NUL."),
    ("priority=%ED%A0%80", "priority", "Must be percent-encoded UTF-8."),
    ("q=", "q", LENGTH),
    (f"q={'x' * 201}", "q", LENGTH),
    (f"q={'%F0%9F%8D%8E' * 201}", "q", LENGTH),
    ("q=%00", "q", "Must not contain the character NUL."),
    ("q=milk%00", "q", "Must not contain the character NUL."),
    ("q=a&q=b", "q", ONCE),
    *(
        (query.format(name), name, message)
        for name in ("due_before", "due_after")
        for query, message in (
            ("{}=", RFC_3339),
            ("{}=2026-01-01", RFC_3339),
            ("{}=2026-01-01T00:00:00", RFC_3339),
            ("{}=2026-01-01T00:00:00+01:00", RFC_3339),  # an unescaped plus means a space
            ("{}=infinity", RFC_3339),
            ("{}=%00", RFC_3339),
            ("{0}=2026-01-01T00:00:00Z&{0}=2026-01-02T00:00:00Z", ONCE),
            ("{}=2026-02-30T00:00:00Z", "Must be a date and time that exists, in UTC in the years 0001 to 9999."),
        )
    ),
]


async def get_unescaped(api: Api, address: str) -> ClientResponse:
    """Sends the address unchanged: the client must not escape it again."""
    return await api.client.get(URL(address, encoded=True), headers={"Authorization": f"Bearer {api.token}"})


@pytest.mark.parametrize(("query", "name", "message"), INVALID)
async def test_an_invalid_filter_gets_400_with_its_name_and_a_message(
    owner: Api, query: str, name: str, message: str
) -> None:
    response = await get_unescaped(owner, f"{TASKS}?{query}")

    document = await problem_of(response, 400, "invalid-query")
    assert document["errors"] == {name: [message]}
    assert document["detail"] == f"{name} {message[0].lower()}{message[1:]}"


async def test_the_problem_names_all_invalid_filters(owner: Api) -> None:
    query = [("priority", "x"), ("priority", "y"), ("due_before", "x"), ("due_after", "x"), ("q", "")]

    document = await problem_of(await owner.call("GET", f"{TASKS}?{urlencode(query)}"), 400, "invalid-query")

    assert set(document["errors"]) == dict(query).keys()
