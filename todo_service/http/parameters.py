"""Headers, queries and paths: the schemas that routes declare, and the values that handlers read."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from aiohttp import web
from marshmallow import Schema, ValidationError, fields, post_load
from marshmallow.validate import Length, Range, Regexp
from multidict import istr

from todo_service.http.cursors import ORDERS, SORTS, Cursor, encode_cursor
from todo_service.http.etags import SyncToken, Tags
from todo_service.http.fields import (
    MAX_PAGE_SIZE,
    CursorParameter,
    EntityTags,
    PageSize,
    RepeatedParameter,
    StrictString,
    SyncTokenParameter,
    UtcDateTime,
)
from todo_service.http.schemas import (
    DATE_TIME_RULES,
    EXAMPLE_ID,
    EXAMPLE_TIME,
    PRIORITIES,
    RequestSchema,
    one_of,
    openapi_metadata,
)

STATUSES = {"all": None, "pending": False, "completed": True}

EXAMPLE_CURSOR = encode_cursor(Cursor("created", "desc", EXAMPLE_TIME, EXAMPLE_ID))


class Conditions(NamedTuple):
    """The conditions of a request (RFC 9110, section 13.1). None for a header that was not sent."""

    if_match: Tags | None = None
    if_none_match: Tags | None = None


class CreateHeaders(NamedTuple):
    """The headers of POST /api/tasks."""

    idempotency_key: str | None = None


CONDITIONS = web.RequestKey("conditions", Conditions)
CREATE_HEADERS = web.RequestKey("create_headers", CreateHeaders)


class HeadersSchema(RequestSchema):
    """The headers that decide whether a request is carried out. Other headers are ignored.

    A conditional header that the route doesn't declare is an error: the service must not ignore a client's condition.
    """

    key: ClassVar[web.RequestKey[Any]] = CONDITIONS
    values: ClassVar[type[Conditions] | type[CreateHeaders]] = Conditions

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.declared = {field.data_key or name: field for name, field in self.fields.items()}
        self.error_messages["unknown"] = "Is not supported here: leave it out."
        self.names = tuple(istr(name) for name in {*self.declared, "If-Match", "If-None-Match"})
        self.absent = self.values()


class ReadHeadersSchema(HeadersSchema):
    """The conditions of reading a task or a list."""

    if_match = EntityTags(
        strong=True,
        data_key="If-Match",
        metadata=openapi_metadata("Tags, or `*`: if none of them is the present one, the answer is 412.", "*"),
    )
    if_none_match = EntityTags(
        strong=False,
        data_key="If-None-Match",
        metadata=openapi_metadata(
            "Tags of what the client has already: if one is the present one, the answer is 304.", '"7"'
        ),
    )


class WriteHeadersSchema(HeadersSchema):
    """The condition of changing a task."""

    if_match = EntityTags(
        strong=True,
        data_key="If-Match",
        metadata=openapi_metadata(
            "The tag of the task that the change is meant for: if it changed since, 412.", "*", '"7"'
        ),
    )


class CreateHeadersSchema(HeadersSchema):
    """The header that lets a client safely repeat the creation of a task."""

    key = CREATE_HEADERS
    values = CreateHeaders

    idempotency_key = fields.String(
        load_default=None,
        data_key="Idempotency-Key",
        validate=Regexp("^[!-~]{1,255}$", error="Must be given once, as 1 to 255 visible ASCII characters."),
        metadata=openapi_metadata(
            "A new one for each task, like a UUID: the same key gives the same task.", EXAMPLE_ID
        ),
    )


class NoQuerySchema(RequestSchema):
    """The query of a route that takes none."""

    key = web.RequestKey("no_query", dict)


def _limit() -> PageSize:
    metadata = openapi_metadata("How many there may be in one answer.", 50)
    return PageSize(load_default=MAX_PAGE_SIZE, validate=Range(1, MAX_PAGE_SIZE), metadata=metadata)


class Filters(NamedTuple):
    """The filters of a list, in the order of the statements' parameters. None for a filter that was not sent."""

    priority: list[str] | None = None
    due_before: str | None = None
    due_after: str | None = None
    q: str | None = None


NO_FILTERS = Filters()


@dataclass(frozen=True)
class ListQuery:
    """The query of GET /api/tasks. `completed` is None for all tasks, `cursor` is None for the first page."""

    sort: str = "created"
    order: str = "desc"
    completed: bool | None = None
    cursor: Cursor | None = None
    filters: Filters = NO_FILTERS
    limit: int = MAX_PAGE_SIZE

    @cached_property
    def is_default(self) -> bool:
        """Whether this is the query of most clients: the first page of all tasks, newest first, with any limit."""
        return self == ListQuery(limit=self.limit)


LIST_QUERY = web.RequestKey("list_query", ListQuery)


class ListQuerySchema(RequestSchema):
    """The query of GET /api/tasks."""

    key = LIST_QUERY

    status = StrictString(
        load_default="all",
        validate=one_of(tuple(STATUSES)),
        metadata=openapi_metadata("Whether completed or pending tasks are wanted.", "pending"),
    )
    sort = StrictString(
        load_default="created",
        validate=one_of(tuple(SORTS)),
        metadata=openapi_metadata(
            "What the list is sorted by. Tasks without a due date are the last, both ways.", "created"
        ),
    )
    order = StrictString(
        validate=one_of(ORDERS),
        metadata=openapi_metadata("By default the newest tasks first, titles and due dates ascending.", "desc"),
    )
    limit = _limit()
    priority = RepeatedParameter(
        StrictString(validate=one_of(PRIORITIES)),
        load_default=None,
        metadata=openapi_metadata("Given several times, any of them.", ["high", "medium"]),
    )
    due_before = UtcDateTime(
        load_default=None, metadata=openapi_metadata(f"Due before this. {DATE_TIME_RULES}", "2027-01-01T00:00:00Z")
    )
    due_after = UtcDateTime(
        load_default=None, metadata=openapi_metadata(f"Due after this. {DATE_TIME_RULES}", "2026-12-24T00:00:00Z")
    )
    q = StrictString(
        load_default=None,
        validate=Length(min=1, max=200, error="Must be 1 to 200 characters long."),
        metadata=openapi_metadata("A part of the title or the description, in upper or lower case.", "milk"),
    )
    cursor = CursorParameter(
        load_default=None,
        metadata=openapi_metadata(
            "Where the page begins: from the `Link` of the page before, with the same `sort` and `order`.",
            EXAMPLE_CURSOR,
        ),
    )

    @post_load
    def _make(self, data: dict[str, Any], **_kwargs: Any) -> ListQuery:
        query = ListQuery(
            sort=data["sort"],
            order=data.get("order", SORTS[data["sort"]]),
            completed=STATUSES[data["status"]],
            cursor=data["cursor"],
            filters=Filters(data["priority"], data["due_before"], data["due_after"], data["q"]),
            limit=data["limit"],
        )
        if query.cursor and (query.cursor.sort, query.cursor.order) != (query.sort, query.order):
            raise ValidationError("Must be used with the sort and order of the list that it came from.", "cursor")
        return query


@dataclass(frozen=True)
class ChangesQuery:
    """The query of GET /api/tasks/changes. `since` is None for all tasks."""

    since: SyncToken | None
    limit: int


CHANGES_QUERY = web.RequestKey("changes_query", ChangesQuery)


class ChangesQuerySchema(RequestSchema):
    """The query of GET /api/tasks/changes."""

    key = CHANGES_QUERY

    since = SyncTokenParameter(
        load_default=None,
        metadata=openapi_metadata("From the answer before; without it, all there is.", f"{EXAMPLE_ID}-7"),
    )
    limit = _limit()

    @post_load
    def _make(self, data: dict[str, Any], **_kwargs: Any) -> ChangesQuery:
        return ChangesQuery(**data)


TASK_ID = web.RequestKey("task_id", str)
"""The `{task_id}` of a path, in the form of a UUID."""


class TaskPathSchema(Schema):
    """The path of one task, for the API's description."""

    task_id = fields.UUID(required=True, metadata=openapi_metadata("The task's id.", EXAMPLE_ID))
