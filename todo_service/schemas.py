"""What may come in and what goes out. Messages are predicates: a field's name and its message make a sentence."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Equal, Length, OneOf, Range, Regexp
from multidict import istr

from todo_service.etags import read_tags, read_version
from todo_service.pages import ORDERS, SORTS, Position, decode_cursor

PRIORITIES = ("low", "medium", "high")
STATUSES = ("all", "pending", "completed")
MAX_PAGE_SIZE = 1000

# RFC 3339, section 5.6, in ASCII digits. That the day exists is for datetime to check.
DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
MESSAGES = {"required": "Is required.", "null": "Must not be null."}


class Text(fields.String):
    """A JSON string that PostgreSQL can store."""

    default_error_messages = {**MESSAGES, "invalid": "Must be a string."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if found := UNSTORABLE.search(value):
            what = "the character NUL" if found[0] == "\0" else "half of a surrogate pair"
            raise ValidationError(f"Must not contain {what}.")
        return value


class Truth(fields.Boolean):
    """A JSON boolean: not 1, not "yes"."""

    default_error_messages = {**MESSAGES, "invalid": "Must be true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Time(fields.DateTime):
    """An RFC 3339 date-time with seconds and offset, loaded as the text of the same moment in UTC.

    Text, because asyncpg takes the first and the last moment that a datetime can hold for infinity.
    """

    default_error_messages = {**MESSAGES}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not DATE_TIME.fullmatch(value):
            raise ValidationError("Must be an RFC 3339 date-time like 2026-12-31T23:59:59Z.")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            raise ValidationError("Must be a moment of the calendar, in UTC within the years 0001 to 9999.") from None


class PageSize(fields.Integer):
    """A number in a query: ASCII digits, nothing that only int() would take."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not re.fullmatch("0{0,9}[0-9]{1,4}", value, re.ASCII) or not 1 <= int(value) <= MAX_PAGE_SIZE:
            raise ValidationError(f"Must be a whole number from 1 to {MAX_PAGE_SIZE}.")
        return int(value)


class Cursor(fields.String):
    """The opaque cursor of a `Link`, loaded as the position that it names."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        position = decode_cursor(value)
        if position is None:
            raise ValidationError("Must be taken unchanged from the Link of the page before.")
        return position


class AnyOf(fields.List[str]):
    """A parameter of a query that may be repeated. What is wrong with one value is wrong with the parameter."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError as error:
            raise ValidationError(next(iter(error.messages_dict.values()))) from None


class Since(fields.String):
    """What a client that synchronises has already, loaded as a Version."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        version = read_version(value)
        if version is None:
            raise ValidationError("Must be the `since` of the answer before, or the ETag of a list without its quotes.")
        return version


class EntityTags(fields.String):
    """A list of entity tags, loaded as those that could be ours."""

    def __init__(self, *, strong: bool, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)
        self._strong = strong

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return read_tags(value, strong=self._strong)
        except ValueError as error:
            raise ValidationError(str(error)) from None


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

    status = Text(load_default="all", validate=_one_of(STATUSES))
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

    @validates_schema
    def _same_list(self, data: dict[str, Any], **_kwargs: Any) -> None:
        position: Position | None = data["cursor"]
        order = data.get("order", SORTS[data["sort"]])
        if position and (position.sort, position.order) != (data["sort"], order):
            raise ValidationError("Must be used with the sort and order of the list that it came from.", "cursor")


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
    revision = fields.Integer(required=True, strict=True)


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
