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
    DateTimeParameter,
    EntityTags,
    PageSize,
    RepeatedParameter,
    StrictString,
    SyncTokenParameter,
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
    """The conditions of a request (RFC 9110, section 13.1). A header that was not sent is None."""

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
    """The conditions for reading a task or a list."""

    if_match = EntityTags(
        strong=True,
        data_key="If-Match",
        metadata=openapi_metadata("Tags, or `*`. If the current tag is not among them, the response is 412.", "*"),
    )
    if_none_match = EntityTags(
        strong=False,
        data_key="If-None-Match",
        metadata=openapi_metadata(
            "The tags that the client has, or `*`. If the current tag is among them, the response is 304.", '"7"'
        ),
    )


class WriteHeadersSchema(HeadersSchema):
    """The condition for changing a task."""

    if_match = EntityTags(
        strong=True,
        data_key="If-Match",
        metadata=openapi_metadata(
            "The tag that you last saw. If the task has changed since, nothing is changed, and the response is 412.",
            "*",
            '"7"',
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
            "A new key for each task, like a UUID. A request with the same key gets the same task.", EXAMPLE_ID
        ),
    )


class NoQuerySchema(RequestSchema):
    """The query of a route without query parameters."""

    key = web.RequestKey("no_query", dict)


def _limit() -> PageSize:
    metadata = openapi_metadata("The maximum number of items in one response.", 50)
    return PageSize(load_default=MAX_PAGE_SIZE, validate=Range(1, MAX_PAGE_SIZE), metadata=metadata)


class Filters(NamedTuple):
    """The filters of a list, in the order of the statements' parameters. A filter that was not sent is None."""

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
        metadata=openapi_metadata("All tasks, or only the pending or the completed ones.", "pending"),
    )
    sort = StrictString(
        load_default="created",
        validate=one_of(tuple(SORTS)),
        metadata=openapi_metadata("The sort key. Tasks without a due date are the last in both orders.", "created"),
    )
    order = StrictString(
        validate=one_of(ORDERS),
        metadata=openapi_metadata("The default is `desc` for `created`, and `asc` for `title` and `due_date`.", "desc"),
    )
    limit = _limit()
    priority = RepeatedParameter(
        StrictString(validate=one_of(PRIORITIES, " (repeat the parameter for several)")),
        load_default=None,
        metadata=openapi_metadata(
            "Tasks with this priority. Repeat the parameter to get tasks with any of several priorities.",
            ["high", "medium"],
        ),
    )
    due_before = DateTimeParameter(
        load_default=None,
        metadata=openapi_metadata(f"Tasks due before this time. {DATE_TIME_RULES}", "2027-01-01T00:00:00Z"),
    )
    due_after = DateTimeParameter(
        load_default=None,
        metadata=openapi_metadata(f"Tasks due after this time. {DATE_TIME_RULES}", "2026-12-24T00:00:00Z"),
    )
    q = StrictString(
        load_default=None,
        validate=Length(min=1, max=200, error="Must be 1 to 200 characters long."),
        metadata=openapi_metadata(
            "Tasks with this text in the title or the description. The search ignores case. If `q` is not ASCII, it "
            "also ignores whether letters are in NFC or in NFD.",
            "milk",
        ),
    )
    cursor = CursorParameter(
        load_default=None,
        metadata=openapi_metadata(
            "The start of the page, from the `Link` of the previous page. Send the same `sort` and `order`.",
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
        metadata=openapi_metadata(
            "The `since` of the previous response. Leave it out to get all tasks.", f"{EXAMPLE_ID}-7"
        ),
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
