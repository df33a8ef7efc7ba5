"""Patterns of the OpenAPI description: they match the values that the service accepts, and no others."""

import re
from contextlib import nullcontext

import pytest

from tests.support.openapi_document import SCHEMAS, parameters_of
from todo_service.http.cursors import Cursor, encode_cursor
from todo_service.http.etags import empty_list_token, parse_sync_token, parse_tags
from todo_service.http.schemas import EXAMPLE_ID as ID


@pytest.mark.parametrize("text", ["x", " x ", "\u2028x", "\ufeff", "a\nb", "\U0001f95b", "x" * 200])
def test_the_pattern_of_titles_matches_accepted_titles(text: str) -> None:
    assert re.search(SCHEMAS["NewTask"]["properties"]["title"]["pattern"], text)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u2028", "\u00a0", "\x1c", "\x85", "\0", "a\0b", "\0a"])
def test_the_pattern_of_titles_matches_no_refused_title(text: str) -> None:
    assert not re.search(SCHEMAS["NewTask"]["properties"]["title"]["pattern"], text)


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("*", True),
        ('"7"', True),
        ('W/"7"', True),
        ('"7", W/"9" ,"" ', True),
        (', "7",,', True),
        ("7", False),
        ('"7" "9"', False),
        ('"7', False),
        ('w/"7"', False),
        ("**", False),
        ("", False),
        ('"a b"', False),
    ],
)
def test_the_pattern_of_conditions_matches_exactly_the_accepted_ones(value: str, accepted: bool) -> None:
    star, tags = parameters_of("get_task", "header")["If-Match"]["schema"]["anyOf"]
    assert (value in star["enum"] or bool(re.search(tags["pattern"], value))) == accepted
    with nullcontext() if accepted else pytest.raises(ValueError, match="entity tags in quotes"):
        parse_tags(value, strong=True)


@pytest.mark.parametrize(
    "text", [str(empty_list_token("x")), f"{ID}-0", f"{ID}-{10**99}", f"{ID}-{10**100}", f"{ID}-01", f"{ID}-", "x-1"]
)
def test_the_pattern_of_since_matches_exactly_the_accepted_values(text: str) -> None:
    pattern = parameters_of("list_changes", "query")["since"]["schema"]["pattern"]
    assert (parse_sync_token(text) is not None) == bool(re.search(pattern, text))


@pytest.mark.parametrize("key", [None, "", "2026-12-31T17:00:00.000000Z", "\U0001f95b" * 200])
def test_the_pattern_of_cursors_matches_every_cursor(key: str | None) -> None:
    pattern = parameters_of("list_tasks", "query")["cursor"]["schema"]["pattern"]
    assert re.search(pattern, encode_cursor(Cursor("title", "asc", key, ID)))
