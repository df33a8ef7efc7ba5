"""Keyset cursors: the first task of a page of a list, and the Link to the next page (RFC 8288)."""

import base64
import json
import re
from dataclasses import astuple, dataclass
from datetime import datetime
from hashlib import blake2b
from urllib.parse import urlencode
from uuid import UUID

from multidict import MultiMapping

SORTS = {"created": "desc", "title": "asc", "due_date": "asc"}
"""The sorts of a list, each with its default order."""

ORDERS = ("asc", "desc")

# The form in which the statements write times. PostgreSQL doesn't accept all fractions and offsets of RFC 3339.
UTC_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")

CHECKSUM_BYTES = 6


@dataclass(frozen=True)
class Cursor:
    """The first task of a page, in a list of this sort and order. `key` is its sort key as text, or None."""

    sort: str
    order: str
    key: str | None
    id: str


def encode_cursor(cursor: Cursor) -> str:
    """The cursor as opaque, URL-safe text. It contains a checksum, so that a damaged cursor is refused."""
    payload = json.dumps(astuple(cursor), ensure_ascii=False, separators=(",", ":")).encode()
    checksum = blake2b(payload, digest_size=CHECKSUM_BYTES).digest()
    return base64.urlsafe_b64encode(checksum + payload).rstrip(b"=").decode()


def decode_cursor(text: str) -> Cursor | None:
    """The cursor in a text, or None if the service can't have sent this text."""
    try:
        octets = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        cursor = Cursor(*json.loads(octets[CHECKSUM_BYTES:]))
        return cursor if _is_valid(cursor) and encode_cursor(cursor) == text else None
    except (ValueError, TypeError, RecursionError):
        return None


def _is_valid(cursor: Cursor) -> bool:
    """Whether the statements accept the cursor. The checksum doesn't prove this: a client could compute it, too."""
    match cursor:
        case Cursor(sort="created" | "due_date", key=str(key), id=str(task_id)):
            datetime.fromisoformat(key)
            usable = UTC_TIME.fullmatch(key) is not None
        case Cursor(sort="title", key=str(key), id=str(task_id)):
            usable = "\0" not in key
        case Cursor(sort="due_date", key=None, id=str(task_id)):
            usable = True
        case _:
            return False
    return usable and str(UUID(task_id)) == task_id


def next_link(query: MultiMapping[str], cursor: Cursor) -> str:
    """The value of a Link header: the address of the page that starts at the cursor.

    The address is relative to the URL of the request (RFC 3986, section 4.2). So it is right behind a proxy that serves
    the API below another path.
    """
    parameters = dict.fromkeys((name, value) for name, value in query.items() if name != "cursor")
    return f'<?{urlencode([*parameters, ("cursor", encode_cursor(cursor))])}>; rel="next"'
