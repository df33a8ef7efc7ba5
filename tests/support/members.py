"""The members of a task, in the order of its JSON, with values for tests. A new member needs an entry in MEMBERS."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Member:
    """A member of a task, with its values as they are in JSON."""

    name: str
    openapi_schema: dict[str, Any]
    """Its schema in the description of the API, without texts and patterns."""
    created: Any = None
    """A value to create it with; None if a client can't set it."""
    changed: Any = None
    """A value to change it to; None if a client can't change it."""
    limits: Sequence[Any] = ()
    """Values just within its limits, which are returned as they were sent."""
    invalid: Sequence[Any] = ("x",)
    """Values that the service refuses with 400."""
    constraint: str = ""
    """The constraint by which the database refuses the values in `violating`."""
    violating: Sequence[Any] = ()

    @property
    def is_nullable(self) -> bool:
        """Whether it can be null."""
        return "null" in self.openapi_schema["type"]

    @property
    def is_free_text(self) -> bool:
        return "string" in self.openapi_schema["type"] and not self.openapi_schema.keys() & {"format", "enum"}


ID = "29a4e190-e9c6-41b3-9379-bc4287b0f856"
INVALID_TIMES: Sequence[Any] = [
    "",
    0,
    1767225600,
    True,
    "now",
    "infinity",
    "2026-01-01",
    "2026-01-01T00:00Z",
    "2026-01-01T00:00:00",
    "2026-01-01 00:00:00Z",
    "20260101T000000Z",
    "2026-W01-1T00:00:00Z",
    "2026-01-01T00:00:00+0100",
    "2026-01-01T00:00:00+01",
    "2026-01-01T00:00:00,5Z",
    "2026-01-01T00:00:00.Z",
    "2026-01-01T00:00:00Z\n",
    "٢٠٢٦-01-01T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:60Z",
    "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00+01:60",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "-0001-01-01T00:00:00Z",
]

MEMBERS = [
    Member(
        "id",
        {"type": "string", "format": "uuid"},
        invalid=[
            *(None, 1, True, [], {}, "", "x", ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", f"{ID}\n", f" {ID}"),
            *("29a4e190e-9c6-41b3-9379-bc4287b0f856", "٢9a4e190-e9c6-41b3-9379-bc4287b0f856"),
        ],
    ),
    Member(
        "user_id",
        {"type": "string", "minLength": 1, "maxLength": 255},
        invalid=[None, 1, True, [], {}, "", "x" * 256, "a\0b"],
    ),
    Member(
        "title",
        {"type": "string", "minLength": 1, "maxLength": 200},
        created="Buy milk",
        changed="Buy bread",
        limits=["😀" * 200],
        invalid=[None, 1, True, [], {}, "", " ", "\u3000\t\n", "x" * 201, " " * 200 + "x", "a\0b"],
        constraint="tasks_title_length_check",
        violating=["", "x" * 201],
    ),
    Member(
        "description",
        {"type": ["string", "null"], "maxLength": 1000},
        created="Two bottles",
        changed="One",
        limits=["", "😀" * 1000],
        invalid=[1, False, [], {}, "x" * 1001, "a\0b"],
        constraint="tasks_description_length_check",
        violating=["x" * 1001],
    ),
    Member("completed", {"type": "boolean"}, changed=True, invalid=[None, 1, 0, "true", "yes", [], {}]),
    Member(
        "priority",
        {"type": ["string", "null"], "enum": ["low", "medium", "high", None]},
        created="high",
        changed="low",
        limits=["low", "high"],
        invalid=["", "High", "urgent", 1, True, [], "low\0"],
        constraint="tasks_priority_check",
        violating=["urgent"],
    ),
    Member(
        "due_date",
        {"type": ["string", "null"], "format": "date-time"},
        created="2030-01-01T00:00:00.000000Z",
        changed="2027-01-01T00:00:00.000000Z",
        limits=["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"],
        invalid=INVALID_TIMES,
        constraint="tasks_due_date_finite_check",
        violating=["infinity"],
    ),
    Member("created_at", {"type": "string", "format": "date-time"}, invalid=[None, *INVALID_TIMES]),
    Member("updated_at", {"type": "string", "format": "date-time"}),
    Member("revision", {"type": "integer", "format": "int64"}),
]

NAMES = [member.name for member in MEMBERS]
CREATED = {member.name: member.created for member in MEMBERS if member.created is not None}
"""A body that creates a task with all members that a client can set."""
CHANGED = {member.name: member.changed for member in MEMBERS if member.changed is not None}
"""A body that changes all members that a client can change."""
CLEARED = dict.fromkeys(member.name for member in MEMBERS if member.is_nullable)
"""A body that clears all members that can be null."""
EQUAL = {"id", "user_id", "created_at"}
"""The members of a PATCH that must be equal to those of the task: they never change."""
IGNORED = {"updated_at", "revision"}
"""The members of a PATCH that are ignored: they change with each write."""
AT_LIMITS = [(member.name, value) for member in MEMBERS for value in member.limits]
