"""Pages of a list: the cursor that names where a page begins, and the Link to the next one (RFC 8288)."""

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
"""What a list can be sorted by, and the order of each if none is asked for."""

ORDERS = ("asc", "desc")

# As the statements write it. PostgreSQL takes fewer fractions and offsets than RFC 3339 allows.
UTC_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")

CHECKSUM_BYTES = 6


@dataclass(frozen=True)
class Position:
    """The first task of a page, in a list of this sort and order; `key` is what the list is sorted by, as text."""

    sort: str
    order: str
    key: str | None
    id: str


def encode_cursor(position: Position) -> str:
    """The position as an opaque URL-safe text, with a checksum: a damaged cursor must not lead elsewhere."""
    payload = json.dumps(astuple(position), ensure_ascii=False, separators=(",", ":")).encode()
    checksum = blake2b(payload, digest_size=CHECKSUM_BYTES).digest()
    return base64.urlsafe_b64encode(checksum + payload).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> Position | None:
    """The position that a cursor names, or None if this text can't be a cursor of ours."""
    try:
        octets = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        position = Position(*json.loads(octets[CHECKSUM_BYTES:]))
        return position if _is_valid(position) and encode_cursor(position) == cursor else None
    except (ValueError, TypeError, RecursionError):
        return None


def _is_valid(position: Position) -> bool:
    """Whether the statements can take it: a checksum is no proof that it was made here."""
    match position:
        case Position(sort="created" | "due_date", key=str(key), id=str(task_id)):
            datetime.fromisoformat(key)
            usable = UTC_TIME.fullmatch(key) is not None
        case Position(sort="title", key=str(key), id=str(task_id)):
            usable = "\0" not in key
        case Position(sort="due_date", key=None, id=str(task_id)):
            usable = True
        case _:
            return False
    return usable and str(UUID(task_id)) == task_id


def link_to(path: str, query: MultiMapping[str], position: Position) -> str:
    """The value of a Link header: this list again, as the client asked for it, from the position on."""
    parameters = [(name, value) for name, value in query.items() if name != "cursor"]
    parameters.append(("cursor", encode_cursor(position)))
    return f'<{path}?{urlencode(parameters)}>; rel="next"'
