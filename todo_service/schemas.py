"""What may come in and what goes out: the bodies, queries, headers and paths that the handlers declare."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load
from marshmallow.validate import Equal, Length, OneOf, Range, Regexp
from multidict import istr

from todo_service.fields import MAX_PAGE_SIZE, AnyOf, Cursor, EntityTags, PageSize, Since, Text, Time, Truth
from todo_service.pages import ORDERS, SORTS, Position

PRIORITIES = ("low", "medium", "high")
STATUSES = {"all": None, "pending": False, "completed": True}

NO_FILTERS = (None, None, None, None)
USUAL_LIST = {"sort": "created", "order": "desc", "completed": None, "position": None, "filters": NO_FILTERS}
"""What most clients ask for: the first page of all tasks, the newest first."""


def _not_blank(value: str) -> None:
    if not value.strip():
        raise ValidationError("Must not be blank.")


def _one_of(choices: tuple[str, ...]) -> OneOf:
    return OneOf(choices, error=f"Must be one of {', '.join(choices)}.")


def _title(**kwargs: Any) -> Text:
    length = Length(min=1, max=200, error="Must be 1 to 200 characters long.")
    example = {"description": "not blank; stored without blanks at its ends", "example": "Buy milk"}
    return Text(validate=[length, _not_blank], post_load=[str.strip], metadata=example, **kwargs)


def _description(**kwargs: Any) -> Text:
    length = Length(max=1000, error="Must be at most 1000 characters long.")
    return Text(validate=length, allow_none=True, metadata={"example": "Two bottles"}, **kwargs)


def _priority(**kwargs: Any) -> Text:
    return Text(validate=_one_of(PRIORITIES), allow_none=True, metadata={"example": "high"}, **kwargs)


def _due_date(**kwargs: Any) -> Time:
    return Time(allow_none=True, metadata={"example": "2026-12-31T17:00:00Z"}, **kwargs)


class RequestSchema(Schema):
    """Something that a client sends: what it doesn't know is refused, naming what it knows."""

    optional_body = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        known = ", ".join(self.fields)
        self.error_messages["unknown"] = f"Is not one of {known}." if known else "Is not known: there are none here."


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

    if_match = EntityTags(strong=True, data_key="If-Match")
    if_none_match = EntityTags(strong=False, data_key="If-None-Match", metadata={"description": "gives 304"})


class WriteHeadersSchema(HeadersSchema):
    """The condition of changing a task."""

    if_match = EntityTags(strong=True, data_key="If-Match", metadata={"description": "gives 412 if it changed since"})


class CreateHeadersSchema(HeadersSchema):
    """What makes creating a task repeatable."""

    idempotency_key = fields.String(
        load_default=None,
        data_key="Idempotency-Key",
        validate=Regexp("^[!-~]{1,255}$", error="Must be given once, as 1 to 255 visible ASCII characters."),
        metadata={"description": "the same key gives the same task"},
    )


class NewTaskSchema(RequestSchema):
    """The body of POST /api/tasks."""

    title = _title(required=True)
    description = _description(load_default=None)
    priority = _priority(load_default=None)
    due_date = _due_date(load_default=None)


class TaskChangesSchema(RequestSchema):
    """The body of PATCH and PUT /api/tasks/{task_id}: a merge patch (RFC 7396)."""

    title = _title()
    description = _description()
    completed = Truth()
    priority = _priority()
    due_date = _due_date()


class CompletionSchema(RequestSchema):
    """The body of PATCH /api/tasks/{task_id}/complete, if there is one."""

    optional_body = True
    completed = Truth(required=True)


class NoQuerySchema(RequestSchema):
    """The query of every endpoint that declares none."""


class ListQuerySchema(RequestSchema):
    """The query of GET /api/tasks."""

    status = Text(load_default="all", validate=_one_of(tuple(STATUSES)))
    sort = Text(load_default="created", validate=_one_of(tuple(SORTS)))
    order = Text(validate=_one_of(ORDERS), metadata={"description": "without it, newest first or else ascending"})
    limit = PageSize(load_default=MAX_PAGE_SIZE, validate=Range(1, MAX_PAGE_SIZE))
    priority = AnyOf(
        Text(validate=_one_of(PRIORITIES)), load_default=None, metadata={"description": "repeated, any of them"}
    )
    due_before = Time(load_default=None, metadata={"description": "that moment excluded"})
    due_after = Time(load_default=None, metadata={"description": "that moment excluded"})
    q = Text(
        load_default=None,
        validate=Length(min=1, max=200, error="Must be 1 to 200 characters long."),
        metadata={"description": "a part of the title or the description, in upper or lower case"},
    )
    cursor = Cursor(load_default=None, metadata={"description": "from the `Link` of the page before"})

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

    since = Since(load_default=None, metadata={"description": "from the answer before; without it, all there is"})
    limit = PageSize(load_default=MAX_PAGE_SIZE, validate=Range(1, MAX_PAGE_SIZE))


class TaskPathSchema(Schema):
    """The path of one task."""

    task_id = fields.UUID(required=True)


class TaskSchema(Schema):
    """A task, as sql/migrations writes it."""

    id = fields.UUID(required=True)
    user_id = Text(required=True)
    title = _title(required=True)
    description = _description(required=True)
    completed = Truth(required=True)
    priority = _priority(required=True)
    due_date = _due_date(required=True)
    created_at = Time(required=True)
    updated_at = Time(required=True)
    revision = fields.Integer(required=True, strict=True, metadata={"format": "int64"})


class ChangesSchema(Schema):
    """What changed since, as sql/tasks/list_changes.sql writes it."""

    since = fields.String(required=True)
    tasks = fields.List(fields.Nested(TaskSchema), required=True)
    deleted = fields.List(fields.UUID(), required=True)
    more = Truth(required=True)


class ProblemSchema(Schema):
    """A problem document (RFC 9457)."""

    type = fields.String(required=True, metadata={"example": "/problems#invalid-body"})
    title = fields.String(required=True, metadata={"example": "Invalid body"})
    status = fields.Integer(required=True, metadata={"example": 400})
    detail = fields.String(required=True, metadata={"example": "title must not be blank."})
    errors = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))


class HealthSchema(Schema):
    """That the service runs."""

    status = fields.String(required=True, validate=Equal("healthy"), metadata={"example": "healthy"})
