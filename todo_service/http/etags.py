"""Entity tags (RFC 9110, section 8.8.3): what tells a state of a task, or of all of a user's tasks, from any other.

A task's tag is its revision. The tag of a user's list is a Version; clients that synchronise send it as `since`.
"""

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

EVERY: Final = ("*",)
"""What the field value `*` is read as: no list of tags, since none of ours has an asterisk."""

MALFORMED: Final = 'Must be * or a list of entity tags in quotes, like "7", "9".'

# What is not ASCII comes decoded, broken UTF-8 as surrogates.
TAG = r'(?:W/)?"[^\u0000-\u0020"\u007f]*"'
TAGS = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")
EACH = re.compile(TAG)
ONE_OF_OURS = re.compile('"([0-9a-f-]+)"')

VERSION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(0|[1-9][0-9]{0,99})", re.ASCII)
NOBODY = UUID("2b1f0f5e-3c5d-4b52-a5f4-0d9b9a1f7c11")
MAX_REVISION = 2**63 - 1


@dataclass(frozen=True)
class Version:
    """A state of a user's tasks: so many writes into this life of them."""

    generation: str
    revision: int

    def __str__(self) -> str:
        return f"{self.generation}-{self.revision}"


def version_of_nothing(user_id: str) -> Version:
    """The version of a user who is not in the database: users who have nothing yet are still told apart."""
    return Version(str(uuid5(NOBODY, user_id)), 0)


def revision_of(task: str) -> str:
    """The revision of a task's JSON text, whose last member it is: no statement needs a column more for it."""
    return task[task.rindex(":") + 1 : -1]


def read_version(text: str) -> Version | None:
    """The version that a text names, or None if it can't be one of ours."""
    match = VERSION.fullmatch(text)
    return Version(match[1], min(int(match[2]), MAX_REVISION)) if match else None


def read_tags(value: str, *, strong: bool) -> tuple[str, ...]:
    """The tags of an If-Match or If-None-Match, without quotes: only those that could be ours, so perhaps none.

    `strong` leaves out weak ones, which never match for a write (RFC 9110, section 8.8.3.2). Raises ValueError.
    """
    if match := ONE_OF_OURS.fullmatch(value):  # what nearly all clients send
        return (match[1],)
    value = value.strip(" \t")
    if value == "*":
        return EVERY
    if not TAGS.fullmatch(value):
        raise ValueError(MALFORMED)
    tags = [tag for tag in EACH.findall(value) if not (strong and tag.startswith("W/"))]
    return tuple(match[1] for tag in tags if (match := ONE_OF_OURS.fullmatch(tag.removeprefix("W/"))))
