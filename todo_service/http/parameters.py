"""The headers, queries and paths that the handlers declare."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load
from marshmallow.validate import Length, Range, Regexp
from multidict import istr

from todo_service.http.cursors import ORDERS, SORTS, Position, encode_cursor
from todo_service.http.fields import MAX_PAGE_SIZE, AnyOf, Cursor, EntityTags, PageSize, Since, Text, Time
from todo_service.http.schemas import CALENDAR, EXAMPLE_ID, EXAMPLE_TIME, PRIORITIES, RequestSchema, about, one_of

STATUSES = {"all": None, "pending": False, "completed": True}

NO_FILTERS = (None, None, None, None)
USUAL_LIST = {"sort": "created", "order": "desc", "completed": None, "position": None, "filters": NO_FILTERS}
"""What most clients ask for: the first page of all tasks, the newest first."""

EXAMPLE_CURSOR = encode_cursor(Position("created", "desc", EXAMPLE_TIME, EXAMPLE_ID))


def _limit() -> PageSize:
    metadata = about("How many there may be in one answer.", 50)
    return PageSize(load_default=MAX_PAGE_SIZE, validate=Range(1, MAX_PAGE_SIZE), metadata=metadata)


class HeadersSchema(RequestSchema):
    """The headers that decide whether a request is carried out.

    A condition that isn't declared is refused, since a change must not be made without it. Other headers are ignored.
    """

    CONDITIONS = ("If-Match", "If-None-Match")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.declared = {field.data_key or name: field for name, field in self.fields.items()}
        self.error_messages["unknown"] = "Is not possible here: leave it out."
        self.names = tuple(istr(name) for name in {*self.declared, *self.CONDITIONS})
        self.absent: Mapping[str, Any] = MappingProxyType(self.load({}))


class ReadHeadersSchema(HeadersSchema):
    """The conditions of reading a task or a list."""

    if_match = EntityTags(
        strong=True,
        data_key="If-Match",
        metadata=about("Tags, or `*`: if none of them is the present one, the answer is 412.", "*"),
    )
    if_none_match = EntityTags(
        strong=False,
        data_key="If-None-Match",
        metadata=about("Tags of what the client has already: if one is the present one, the answer is 304.", '"7"'),
    )


class WriteHeadersSchema(HeadersSchema):
    """The condition of changing a task."""

    if_match = EntityTags(
        strong=True,
        data_key="If-Match",
        metadata=about("The tag of the task that the change is meant for: if it changed since, 412.", "*", '"7"'),
    )


class CreateHeadersSchema(HeadersSchema):
    """What makes creating a task repeatable."""

    idempotency_key = fields.String(
        load_default=None,
        data_key="Idempotency-Key",
        validate=Regexp("^[!-~]{1,255}$", error="Must be given once, as 1 to 255 visible ASCII characters."),
        metadata=about("A new one for each task, like a UUID: the same key gives the same task.", EXAMPLE_ID),
    )


class NoQuerySchema(RequestSchema):
    """The query of every endpoint that declares none."""


class ListQuerySchema(RequestSchema):
    """The query of GET /api/tasks."""

    status = Text(
        load_default="all",
        validate=one_of(tuple(STATUSES)),
        metadata=about("Whether completed or pending tasks are wanted.", "pending"),
    )
    sort = Text(
        load_default="created",
        validate=one_of(tuple(SORTS)),
        metadata=about("What the list is sorted by. Tasks without a due date are the last, both ways.", "created"),
    )
    order = Text(
        validate=one_of(ORDERS),
        metadata=about("By default the newest tasks first, titles and due dates ascending.", "desc"),
    )
    limit = _limit()
    priority = AnyOf(
        Text(validate=one_of(PRIORITIES)),
        load_default=None,
        metadata=about("Given several times, any of them.", ["high", "medium"]),
    )
    due_before = Time(load_default=None, metadata=about(f"Due before this. {CALENDAR}", "2027-01-01T00:00:00Z"))
    due_after = Time(load_default=None, metadata=about(f"Due after this. {CALENDAR}", "2026-12-24T00:00:00Z"))
    q = Text(
        load_default=None,
        validate=Length(min=1, max=200, error="Must be 1 to 200 characters long."),
        metadata=about("A part of the title or the description, in upper or lower case.", "milk"),
    )
    cursor = Cursor(
        load_default=None,
        metadata=about(
            "Where the page begins: from the `Link` of the page before, with the same `sort` and `order`.",
            EXAMPLE_CURSOR,
        ),
    )

    @post_load
    def _settle(self, data: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        """What follows from the query, once for all requests that have the same."""
        position: Position | None = data.pop("cursor")
        query = {
            "sort": data["sort"],
            "order": data.get("order", SORTS[data["sort"]]),
            "completed": STATUSES[data["status"]],
            "position": position,
            "filters": tuple(data[name] for name in ("priority", "due_before", "due_after", "q")),
        }
        if position and (position.sort, position.order) != (query["sort"], query["order"]):
            raise ValidationError("Must be used with the sort and order of the list that it came from.", "cursor")
        return {**query, "limit": data["limit"], "is_usual": query == USUAL_LIST}


class ChangesQuerySchema(RequestSchema):
    """The query of GET /api/tasks/changes."""

    since = Since(
        load_default=None,
        metadata=about("From the answer before; without it, all there is.", f"{EXAMPLE_ID}-7"),
    )
    limit = _limit()


class TaskPathSchema(Schema):
    """The path of one task."""

    task_id = fields.UUID(required=True, metadata=about("The task's id.", EXAMPLE_ID))
