"""The parsers of entity tags in headers (RFC 9110, sections 5.6.1 and 8.8.3) and of sync tokens."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.api import UNKNOWN_ID
from todo_service.http.etags import (
    ANY,
    MAX_REVISION,
    SyncToken,
    Tags,
    empty_list_token,
    parse_sync_token,
    parse_tags,
)

GENERATION = UNKNOWN_ID

# The grammar of the RFC. This expression is too slow for values that attackers send.
TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"'
LIST = re.compile(rf"[ \t]*(?:{TAG})?(?:[ \t]*,[ \t]*(?:{TAG})?)*[ \t]*")

FRAGMENTS = ["W/", "w/", '"', '"1"', 'W/"1"', "*", ",", " ", "\t", "1", "ä", "\x7f", "\x80", "\udcff", "\n", "\0"]
SEPARATORS = st.from_regex(r"[ \t]*,[ \t,]*", fullmatch=True)
SYNC_TOKENS = st.builds(SyncToken, st.uuids().map(str), st.integers(0, MAX_REVISION))
OWN_TAGS = st.one_of(st.integers(0, MAX_REVISION).map(str), SYNC_TOKENS.map(str))
# Any text between quotes, with commas and asterisks. aiohttp decodes invalid UTF-8 to lone surrogates.
ANY_TEXT = st.text(st.sampled_from(["!", *map(chr, range(0x23, 0x7F)), "\x80", "ä", "\udc80", "\U0010ffff"]))
TAGS = st.lists(st.tuples(st.booleans(), OWN_TAGS | ANY_TEXT), min_size=1)

LENGTH = 200_000
"""The length of long values. A linear parser needs milliseconds for them, a quadratic parser minutes."""

without_deadline = settings(deadline=None, max_examples=300)


@without_deadline
@given(tags=TAGS, separators=st.lists(SEPARATORS, min_size=1), ends=st.tuples(*[st.sampled_from(["", ",", " , "])] * 2))
def test_the_parser_returns_the_tags_that_the_service_may_have_sent(
    tags: list[tuple[bool, str]], separators: list[str], ends: tuple[str, str]
) -> None:
    value = ends[0]
    for number, (weak, tag) in enumerate(tags):
        value += (separators[number % len(separators)] if number else "") + ("W/" if weak else "") + f'"{tag}"'
    value += ends[1]

    every, strong = parse_tags(value, strong=False), parse_tags(value, strong=True)

    ours = [(weak, tag) for weak, tag in tags if re.fullmatch("0|[1-9][0-9]*", tag) or parse_sync_token(tag)]
    sent = {tag: ("W/" if weak else "") + f'"{tag}"' for weak, tag in reversed(ours)}  # the first of equal tags counts
    assert every | sent == every
    assert strong.keys() >= {tag for weak, tag in ours if not weak}
    assert every.keys() <= {tag for _, tag in tags}
    assert strong.keys() <= {tag for weak, tag in tags if not weak}


@without_deadline
@given(value=st.lists(st.sampled_from(FRAGMENTS)).map("".join) | st.text('W/"1*, \t', max_size=12))
@example('"1"\n')
@example('" "')
@example('"\t"')
@example('"\x7f"')
@example('"\0"')
@example('w/"1"')
@example('W/ "1"')
@example('"1" "2"')
@example('"1"W/"2"')
@example('*"1"')
def test_the_parser_refuses_values_outside_the_grammar(value: str) -> None:
    is_list = LIST.fullmatch(value) is not None and '"' in value
    try:
        tags: Tags | None = parse_tags(value, strong=False)
    except ValueError:
        tags = None
    assert (tags == ANY) is (value.strip(" \t") == "*")
    assert (tags is not None) is (is_list or tags == ANY)


@pytest.mark.parametrize("strong", [True, False])
@pytest.mark.parametrize("value", ["*", " *", "*\t", "\t * "])
def test_an_asterisk_is_read_as_any_tag(value: str, strong: bool) -> None:
    assert parse_tags(value, strong=strong) == ANY


@pytest.mark.parametrize("value", ['"*"', 'W/"*"', '"*", "*"', '"x,*,y"', '""', '"Ä"', '"1\x80"'])
def test_the_parser_leaves_out_tags_of_other_services(value: str) -> None:
    assert parse_tags(value, strong=False) == {}


@pytest.mark.parametrize(
    "value", ['"1', '1"', "1", '"', "*,", ", *", '*, "1"', '"1", *', "*, *", "W/*", "", " ", ",", ", ,"]
)
@pytest.mark.parametrize("strong", [True, False])
def test_the_error_of_a_malformed_value_names_the_expected_form(value: str, strong: bool) -> None:
    with pytest.raises(ValueError, match=r"Must be .* list of entity tags in quotes"):
        parse_tags(value, strong=strong)


@pytest.mark.parametrize("strong", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        "," * LENGTH,
        '"' * LENGTH,
        '"' + "1" * LENGTH,
        "W/" * LENGTH,
        '"1"' + " " * LENGTH + "x",
        '"1"' + " ," * LENGTH + "x",
        '"1" ' * LENGTH,
        '"1",' * LENGTH + '"',
        '"",' * LENGTH + "*",
        ('"1"' + "\t" * 1000 + ",") * (LENGTH // 1000) + "x",
    ],
    ids=lambda value: value[:9] + "...",
)
def test_a_long_malformed_value_is_refused_in_linear_time(value: str, strong: bool) -> None:
    with pytest.raises(ValueError, match="list of entity tags"):
        parse_tags(value, strong=strong)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (" " * LENGTH + '"1"' + "\t" * LENGTH, 1),
        (" ," * LENGTH + '"1"' + ", " * LENGTH, 1),
        (", ".join(f'"{n}"' for n in range(LENGTH)), LENGTH),
        ('"1" \t, ' * LENGTH, 1),
        ('"' + "a" * LENGTH + '"', 1),
        ('"' + "," * LENGTH + '"', 0),
        ('"x",' * LENGTH, 0),
        ('"1' + "-gzip" * LENGTH + '"', 0),
        ('"' + "-" * LENGTH + 'gzip"', 1),
    ],
    ids=lambda value: value[:9] + "..." if isinstance(value, str) else str(value),
)
def test_a_long_list_is_read_in_linear_time(value: str, count: int) -> None:
    assert len(parse_tags(value, strong=False)) == count


@without_deadline
@given(
    tag=OWN_TAGS,
    separator=st.sampled_from(["-", "--", ";"]),
    coding=st.sampled_from(["gzip", "br", "zstd", "deflate"]),
)
def test_the_suffix_of_a_coding_is_not_part_of_a_tag(tag: str, separator: str, coding: str) -> None:
    sent = f"{tag}{separator}{coding}"
    assert parse_tags(f'"{sent}"', strong=True) == parse_tags(f'"x", "{sent}"', strong=True) == {tag: f'"{sent}"'}
    assert parse_tags(f'"{tag}-x", W/"{sent}", "{tag}"', strong=False) == {tag: f'W/"{sent}"'}
    assert parse_sync_token(sent) == parse_sync_token(tag)


@without_deadline
@given(token=SYNC_TOKENS)
def test_a_parsed_sync_token_equals_the_written_one(token: SyncToken) -> None:
    assert parse_sync_token(str(token)) == token


@pytest.mark.parametrize(
    "text",
    [
        "", "-", "7", GENERATION, f"{GENERATION}-", f"-{GENERATION}-7", f"{GENERATION}-07", f"{GENERATION}--7",
        f"{GENERATION}-+7", f"{GENERATION}-7 ", f" {GENERATION}-7", f"{GENERATION}-7\n", f"{GENERATION}-٣",
        f"{GENERATION}-1e3", f"{GENERATION}-{'9' * 101}", f"{GENERATION}-{'0' * 100_000}", f"{GENERATION.upper()}-7",
        f"{GENERATION.replace('-', '')}-7", f"{{{GENERATION}}}-7", f"{GENERATION[:-1]}-7", f"{GENERATION}-7-8",
    ],
)  # fmt: skip
def test_a_malformed_sync_token_is_read_as_none(text: str) -> None:
    assert parse_sync_token(text) is None


@pytest.mark.parametrize("number", [MAX_REVISION + 1, 10**19 - 1, 10**100 - 1])
def test_a_revision_above_the_largest_bigint_is_read_as_the_largest_bigint(number: int) -> None:
    assert parse_sync_token(f"{GENERATION}-{number}") == SyncToken(GENERATION, 2**63 - 1)


@without_deadline
@given(users=st.lists(st.text(min_size=1, max_size=255), min_size=2, max_size=20, unique=True))
def test_users_without_data_have_different_sync_tokens(users: list[str]) -> None:
    tokens = {empty_list_token(user_id) for user_id in users}
    assert len(tokens) == len(users)
    assert all(parse_sync_token(str(token)) == token for token in tokens)


def test_the_sync_token_of_a_user_without_data_never_changes() -> None:
    assert str(empty_list_token("alice")) == "0de3c05c-94f1-52e3-b384-de445691c3a4-0"
