"""Invalid queries of GET /api/tasks/changes: a malformed `since`, an invalid limit, and other parameters."""

from uuid import UUID

import pytest

from tests.support.api import UNKNOWN_ID, Api, problem_of
from tests.support.synchronisation import CHANGES
from todo_service.http.cursors import Cursor, encode_cursor

pytestmark = pytest.mark.database

GENERATION = UNKNOWN_ID

MALFORMED = {
    "empty": "",
    "a generation only": GENERATION,
    "no revision": f"{GENERATION}-",
    "no generation": "-1",
    "no dash": f"{GENERATION}1",
    "only a number": "1",
    "upper case": f"{GENERATION.upper()}-1",
    "quotes": f'"{GENERATION}-1"',
    "weak": f'W/"{GENERATION}-1"',
    "a negative number": f"{GENERATION}--1",
    "a sign": f"{GENERATION}-+1",
    "a leading zero": f"{GENERATION}-01",
    "two zeros": f"{GENERATION}-00",
    "a fraction": f"{GENERATION}-1.0",
    "an exponent": f"{GENERATION}-1e3",
    "grouped digits": f"{GENERATION}-1_000",
    "Arabic digits": f"{GENERATION}-\u0661",
    "an Arabic digit": f"{GENERATION}-1\u0661",
    "full-width digits": f"{GENERATION}-\uff11",
    "full-width digits in the generation": f"\uff16{GENERATION[1:]}-1",
    "NUL": "\0",
    "NUL at the end": f"{GENERATION}-1\0",
    "a line break at the end": f"{GENERATION}-1\n",
    "a space": f" {GENERATION}-1",
    "a generation without dashes": f"{UUID(GENERATION).hex}-1",
    "a generation in braces": f"{{{GENERATION}}}-1",
    "three parts": f"{GENERATION}-1-1",
    "huge": f"{GENERATION}-{'9' * 5000}",
    "the cursor of a list": encode_cursor(Cursor("created", "desc", "2026-01-01T00:00:00.000000Z", GENERATION)),
}


@pytest.mark.parametrize("since", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_since_gets_400(owner: Api, since: str) -> None:
    response = await owner.call("GET", CHANGES, params={"since": since})
    assert list((await problem_of(response, 400, "invalid-query"))["errors"]) == ["since"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *((f"limit={value}", "limit") for value in ("", "0", "1001", "-1", "1.0", "x", "%D9%A1")),
        ("limit=1&limit=1", "limit"),
        (f"since={GENERATION}-1&since={GENERATION}-1", "since"),
        *((f"{name}=1", name) for name in ("cursor", "status", "sort", "Since", "q")),
    ],
)
async def test_an_invalid_or_unknown_parameter_gets_400(owner: Api, query: str, name: str) -> None:
    response = await owner.call("GET", f"{CHANGES}?{query}")
    assert list((await problem_of(response, 400, "invalid-query"))["errors"]) == [name]
