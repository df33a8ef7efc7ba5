"""The bodies of requests and responses: their schemas, and the types that handlers read.

The first line of a schema's docstring is in the API's description.
"""

from typing import Any, ClassVar, TypedDict
from uuid import UUID

from aiohttp import web
from marshmallow import EXCLUDE, Schema, fields
from marshmallow.validate import Equal, Length, OneOf, Regexp

from todo_service.http.fields import Ignored, StrictBoolean, StrictString, StrictUuid, UtcDateTime
from todo_service.problems import PAGE, TYPES

PRIORITIES = ("low", "medium", "high")

EXAMPLE_ID = "29a4e190-e9c6-41b3-9379-bc4287b0f856"
EXAMPLE_TIME = "2026-12-31T17:00:00.000000Z"
DATE_TIME_RULES = "An RFC 3339 date-time with an offset, but no leap second. In UTC, its year is 0001 to 9999."

UNCHANGED = "Leave it out, or send it as you got it: another value is refused."
IGNORED = "Ignored, so that you can send a whole task. To refuse stale changes, send `If-Match`."

# \s differs: in Python it includes U+001C to U+001F and U+0085. In JavaScript, whose regular expressions OpenAPI uses,
# it includes U+FEFF.
NOT_BLANK = Regexp(
    r"^[\s\u001c-\u001f\u0085]*(?:[^\s\u0000\u001c-\u001f\u0085]|\ufeff)[^\u0000]*$", error="Must not be blank."
)


def openapi_metadata(description: str, *examples: object, **keywords: object) -> dict[str, Any]:
    """The metadata of a field for the API's description, in addition to what apispec derives from the field."""
    return {"description": description, **({"examples": list(examples)} if examples else {}), **keywords}


def one_of(choices: tuple[str, ...], hint: str = "") -> OneOf:
    """A validator whose message lists the choices."""
    return OneOf(choices, error=f"Must be one of {', '.join(choices)}{hint}.")


def example_of(schema: Schema) -> dict[str, Any]:
    """An object with the first example of each field that has examples."""
    return {name: found[0] for name, field in schema.fields.items() if (found := field.metadata.get("examples"))}


def _title(**kwargs: Any) -> StrictString:
    length = Length(min=1, max=200, error="Must be 1 to 200 characters long.")
    metadata = openapi_metadata("Not blank. White space at its ends is removed.", "Buy milk")
    return StrictString(validate=[length, NOT_BLANK], post_load=[str.strip], metadata=metadata, **kwargs)


def _description(**kwargs: Any) -> StrictString:
    length = Length(max=1000, error="Must be at most 1000 characters long.")
    return StrictString(
        validate=length,
        allow_none=True,
        metadata=openapi_metadata("Details of the task.", "Two bottles"),
        **kwargs,
    )


def _completed(**kwargs: Any) -> StrictBoolean:
    return StrictBoolean(metadata=openapi_metadata("Whether the task is done.", True), **kwargs)


def _priority(**kwargs: Any) -> StrictString:
    metadata = openapi_metadata("The importance of the task.", "high")
    return StrictString(validate=one_of(PRIORITIES), allow_none=True, metadata=metadata, **kwargs)


def _due_date(**kwargs: Any) -> UtcDateTime:
    return UtcDateTime(
        allow_none=True,
        metadata=openapi_metadata(f"The time when the task is due. {DATE_TIME_RULES}", EXAMPLE_TIME),
        **kwargs,
    )


class RequestSchema(Schema):
    """A part of a request. An unknown member is an error, whose message names the known members.

    The middleware `validate` stores the loaded value in `request[key]`.
    """

    key: ClassVar[web.RequestKey[Any]]
    optional_body = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        known = ", ".join(self.fields)
        self.error_messages["unknown"] = (
            f"Is not one of {known}." if known else "Is unknown: this endpoint has no query parameters."
        )


class NewTask(TypedDict):
    """A task to be created. Members that were not sent are None."""

    title: str
    description: str | None
    priority: str | None
    due_date: str | None


NEW_TASK = web.RequestKey("new_task", NewTask)


class NewTaskSchema(RequestSchema):
    """A task to be created."""

    key = NEW_TASK
    title = _title(required=True)
    description = _description(load_default=None)
    priority = _priority(load_default=None)
    due_date = _due_date(load_default=None)


class TaskPatch(TypedDict, total=False):
    """The members of a task that are to be changed, and those that must be equal: id, user_id and created_at."""

    id: UUID
    user_id: str
    title: str
    description: str | None
    completed: bool
    priority: str | None
    due_date: str | None
    created_at: str


TASK_PATCH = web.RequestKey("task_patch", TaskPatch)


class TaskPatchSchema(RequestSchema):
    """A merge patch of a task (RFC 7396): members that are left out stay unchanged, null clears a member.

    Clients can send a whole task back. The service compares the members that never change, and ignores those that
    change with each write. These members have no examples, so the example body in /docs fits every task.
    """

    key = TASK_PATCH
    id = StrictUuid(metadata=openapi_metadata(f"The id of the task. {UNCHANGED}"))
    user_id = StrictString(
        validate=Length(1, 255, error="Must be 1 to 255 characters long."),
        metadata=openapi_metadata(f"The owner of the task. {UNCHANGED}"),
    )
    title = _title()
    description = _description()
    completed = _completed()
    priority = _priority()
    due_date = _due_date()
    created_at = UtcDateTime(metadata=openapi_metadata(f"The time when the task was created. {UNCHANGED}"))
    updated_at = Ignored(metadata=openapi_metadata(IGNORED))
    revision = Ignored(metadata=openapi_metadata(IGNORED))


class Completion(TypedDict, total=False):
    """Whether the task is to be completed. Empty if the request has no body."""

    completed: bool


COMPLETION = web.RequestKey("completion", Completion)


class CompletionSchema(RequestSchema):
    """Whether the task is to be completed."""

    key = COMPLETION
    optional_body = True
    completed = _completed(required=True)


class ResponseSchema(Schema):
    """The body of a response. It may have more members in a later release."""

    class Meta:
        unknown = EXCLUDE


class TaskSchema(ResponseSchema):
    """A task."""

    id = fields.UUID(required=True, metadata=openapi_metadata("Chosen by the service. It never changes.", EXAMPLE_ID))
    user_id = StrictString(
        required=True,
        validate=Length(1, 255),
        metadata=openapi_metadata("The owner of the task: the `sub` of the token.", "alice"),
    )
    title = _title(required=True)
    description = _description(required=True)
    completed = _completed(required=True)
    priority = _priority(required=True)
    due_date = _due_date(required=True)
    created_at = UtcDateTime(
        required=True, metadata=openapi_metadata("The time when the task was created.", "2026-11-20T14:16:38.315613Z")
    )
    updated_at = UtcDateTime(
        required=True, metadata=openapi_metadata("The time when the task last changed.", "2026-11-20T14:17:02.118846Z")
    )
    revision = fields.Integer(
        required=True,
        strict=True,
        metadata=openapi_metadata(
            "Grows with each write to the user's tasks. It is the task's ETag without the quotes.", 3, format="int64"
        ),
    )


class ChangesSchema(ResponseSchema):
    """The changes after `since`."""

    since = fields.String(
        required=True, metadata=openapi_metadata("The `since` for the next request.", f"{EXAMPLE_ID}-8")
    )
    tasks = fields.List(
        fields.Nested(TaskSchema),
        required=True,
        metadata=openapi_metadata("The created or changed tasks, in their current state."),
    )
    deleted = fields.List(
        fields.UUID(), required=True, metadata=openapi_metadata("The ids of the deleted tasks.", [EXAMPLE_ID])
    )
    more = StrictBoolean(
        required=True,
        metadata=openapi_metadata("Whether there are more changes. If so, send the next request at once.", False),
    )


class ProblemSchema(ResponseSchema):
    """A problem document (RFC 9457)."""

    type = fields.String(
        required=True,
        metadata=openapi_metadata(
            "The type of the problem. /problems explains each type.",
            *(f"{PAGE}#{name}" for name in TYPES),
            format="uri-reference",
        ),
    )
    title = fields.String(required=True, metadata=openapi_metadata("The type in words, for humans.", "Invalid body"))
    status = fields.Integer(required=True, metadata=openapi_metadata("The HTTP status.", 400))
    detail = fields.String(
        required=True, metadata=openapi_metadata("A sentence for humans.", "title must not be blank.")
    )
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=openapi_metadata(
            "For an invalid body, query or header: the messages for each field.", {"title": ["Must not be blank."]}
        ),
    )


class HealthSchema(ResponseSchema):
    """The health of the service."""

    status = fields.String(
        required=True, validate=Equal("healthy"), metadata=openapi_metadata("The state of the service.", "healthy")
    )
