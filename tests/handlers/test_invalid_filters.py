"""Invalid filters of the list: the problem names each of them and its valid values."""

from urllib.parse import urlencode

import pytest
from aiohttp import ClientResponse
from yarl import URL

from tests.support.api import TASKS, Api, problem_of

pytestmark = pytest.mark.database

RFC_3339 = "Must be an RFC 3339 date-time with seconds and offset, like 2026-12-31T23:59:59Z."
PLUS = "Must be an RFC 3339 date-time: write its + as %2B."
ONCE_ENCODED = "Must be an RFC 3339 date-time: percent-encode it only once."
LENGTH = "Must be 1 to 200 characters long."
ONE_OF = "Must be one of low, medium, high (repeat the parameter for several)."
DIGITS = "Must be a whole number from 1 to 1000, in digits only."
CURSOR = "Must be a cursor from the Link of the previous page, unchanged and without quotes."
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
        (f"limit={value}", "limit", DIGITS)
        for value in ("50;", "50,", "%2250%22", "+50", "1001", "1,000", "50;sort=title")
    ),
    *((f"cursor={value}", "cursor", CURSOR) for value in ("%22abc%22", "%2522abc%2522", "%3Cabc%3E", "")),
    *(
        (query.format(name), name, message)
        for name in ("due_before", "due_after")
        for query, message in (
            ("{}=", RFC_3339),
            ("{}=2026-01-01", RFC_3339),
            ("{}=2026-01-01T00:00:00", RFC_3339),
            ("{}=2026-01-01T00:00Z", RFC_3339),
            ("{}=%222026-01-01T00:00:00Z%22", RFC_3339),
            ("{}=2026-01-01T00:00:00+01:00", PLUS),  # an unescaped plus means a space
            ("{}=2026-01-01T00%3A00%3A00.5+00%3A00", PLUS),
            ("{}=2026-01-01t00:00:00%2001:00", PLUS),
            ("{}=2026-02-30T00:00:00+01:00", PLUS),
            ("{}=2026-01-01T00:00:00++01:00", RFC_3339),
            ("{}=2026-01-01+00:00:00+01:00", RFC_3339),
            ("{}=2026-01-01+00:00:00Z", RFC_3339),
            ("{}=2026-01-01T00:00:00+0100", RFC_3339),
            ("{}=2026-01-01T00%253A00%253A00Z", ONCE_ENCODED),
            ("{}=2026-01-01T00:00:00%252B01:00", ONCE_ENCODED),
            ("{}=2026-02-30T00%253A00%253A00Z", ONCE_ENCODED),
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


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00 01:00", "2026-01-01T00%3A00%3A00Z", "2026-01-01T00:00:00"])
async def test_the_message_about_a_body_says_nothing_about_the_encoding_of_queries(owner: Api, time: str) -> None:
    response = await owner.call("POST", TASKS, json={"title": "x", "due_date": time})
    document = await problem_of(response, 400, "invalid-body")
    assert document["errors"] == {"due_date": [RFC_3339]}


async def test_the_problem_names_all_invalid_filters(owner: Api) -> None:
    query = [("priority", "x"), ("priority", "y"), ("due_before", "x"), ("due_after", "x"), ("q", "")]

    document = await problem_of(await owner.call("GET", f"{TASKS}?{urlencode(query)}"), 400, "invalid-query")

    assert set(document["errors"]) == dict(query).keys()
