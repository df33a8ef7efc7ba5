"""Entity tags (RFC 9110, section 8.8.3), and the sync tokens that clients send as `since`.

The tag of a task is its revision. The tag of a user's list is their sync token.
"""

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

Tags = dict[str, str]
"""The entity tags of a header. A key is a tag without quotes and coding suffix; its value is the tag as it was sent.

A 304 repeats a tag as the client sent it. A cache updates its stored response only if the tags are equal (RFC 9111,
section 4.3.4).
"""

ANY: Final = {"*": "*"}
"""The parsed form of the header value `*`. No list of tags equals it, because no tag of this service is an asterisk."""

MALFORMED: Final = 'Must be * or a list of entity tags in quotes, like "7", "9".'

# aiohttp decodes bytes that are not ASCII as UTF-8. Invalid UTF-8 becomes surrogates.
TAG = r'(?:W/)?"[^\u0000-\u0020"\u007f]*"'
TAGS = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")
EACH = re.compile(TAG)

# The compressed form of a response has a tag of its own: this service appends `-gzip`, and proxies append similar
# suffixes. No tag of this service ends like this otherwise.
CODING_SUFFIX = "(?:(?:--?|;)(?:gzip|br|zstd|deflate))?"
OWN_TAG = re.compile(f'"([0-9a-f-]+?){CODING_SUFFIX}"')

SYNC_TOKEN = re.compile(
    rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})-(0|[1-9][0-9]{{0,99}}){CODING_SUFFIX}", re.ASCII
)
EMPTY_LIST_NAMESPACE = UUID("2b1f0f5e-3c5d-4b52-a5f4-0d9b9a1f7c11")
MAX_REVISION = 2**63 - 1


@dataclass(frozen=True)
class SyncToken:
    """A state of a user's tasks: the generation of the user's data, and the revision of the last write to it."""

    generation: str
    revision: int

    def __str__(self) -> str:
        return f"{self.generation}-{self.revision}"


def empty_list_token(user_id: str) -> SyncToken:
    """The sync token of a user who is not in the database. Like all sync tokens, it differs from user to user."""
    return SyncToken(str(uuid5(EMPTY_LIST_NAMESPACE, user_id)), 0)


def parse_sync_token(text: str) -> SyncToken | None:
    """The sync token in a text, or None if the service can't have sent this text."""
    match = SYNC_TOKEN.fullmatch(text)
    return SyncToken(match[1], min(int(match[2]), MAX_REVISION)) if match else None


def parse_tags(value: str, *, strong: bool) -> Tags:
    """The tags of an If-Match or If-None-Match header, without tags that the service can't have sent.

    `"7-gzip"` is read as `7`: the task is the same, only its coding differs. With `strong`, weak tags are left out,
    too, because they never match in If-Match (RFC 9110, section 8.8.3.2). The result may be empty. Raises ValueError.
    """
    if match := OWN_TAG.fullmatch(value):  # a single tag, as nearly all clients send it
        return {match[1]: value}
    value = value.strip(" \t")
    if value == "*":
        return ANY
    if not TAGS.fullmatch(value):
        raise ValueError(MALFORMED)
    tags = [tag for tag in EACH.findall(value) if not (strong and tag.startswith("W/"))]
    ours: Tags = {}
    for tag in tags:
        if match := OWN_TAG.fullmatch(tag.removeprefix("W/")):
            ours.setdefault(match[1], tag)
    return ours


def match_tag(tags: Tags, tag: str) -> str | None:
    """The tag as the client sent it, or in quotes if it sent `*`. None if the tag is not among the client's tags."""
    return f'"{tag}"' if tags == ANY else tags.get(tag)


def coded_tag(tag: str, coding: str) -> str:
    """The tag of a compressed response (RFC 9110, section 8.8.3.3). Both tags are in quotes."""
    return f'{tag[:-1]}-{coding}"'
