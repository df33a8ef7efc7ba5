"""The problem types (RFC 9457, section 3.1.1): the table behind the documents, /problems and the API's description."""

from dataclasses import dataclass

PAGE = "/problems"

BODY_BYTES = 64 * 1024
"""The maximum size of a request body. It is here because two messages contain it."""


@dataclass(frozen=True)
class ProblemType:
    """A problem type: its meaning, and the remedy for the client. In the texts, backticks mark code.

    If `detail` is not empty, all documents of the type have it. Otherwise each document has its own detail, for example
    `example`. `errors` is an example, too. `headers` are the names of the response's additional headers.
    """

    name: str
    status: int
    title: str
    meaning: str
    remedy: str
    detail: str = ""
    example: str = ""
    errors: dict[str, list[str]] | None = None
    headers: tuple[str, ...] = ()

    def document(self, detail: str, errors: object = None) -> dict[str, object]:
        """The problem document: `type`, `title`, `status`, `detail`, and `errors` if there are any."""
        document = {"type": f"{PAGE}#{self.name}", "title": self.title, "status": self.status, "detail": detail}
        return {**document, "errors": errors} if errors else document

    def example_document(self) -> dict[str, object]:
        """An example document of this type."""
        return self.document(self.detail or self.example, self.errors)


ALL = (
    ProblemType(
        "malformed-request",
        400,
        "Malformed request",
        "The request is incomplete, is not valid HTTP, or could not be read.",
        "Fix the client, or the proxy between it and the service: the same request will fail again.",
        example="The request could not be read: Bad Request.",
    ),
    ProblemType(
        "malformed-json",
        400,
        "Malformed JSON",
        "The body is not valid JSON in UTF-8. NaN, repeated members and very deep nesting are refused, too.",
        "Let a JSON library write the body. `detail` says where the error is.",
        example="The request body is not valid JSON: Expecting value: line 1 column 11 (char 10).",
    ),
    ProblemType(
        "invalid-body",
        400,
        "Invalid body",
        "The body is valid JSON, but a member is missing or unknown, or has a wrong value.",
        "`errors`, if present, has the messages for up to 20 members: show them beside the fields of a form.",
        example="title must not be blank.",
        errors={"title": ["Must not be blank."]},
    ),
    ProblemType(
        "invalid-query",
        400,
        "Invalid query",
        "A query parameter is unknown or repeated, or has a wrong value.",
        "`errors` has the messages for each parameter. Send a cursor unchanged, with the same `sort` and `order`.",
        example="limit must be a whole number from 1 to 1000, in digits only.",
        errors={"limit": ["Must be a whole number from 1 to 1000, in digits only."]},
    ),
    ProblemType(
        "invalid-header",
        400,
        "Invalid header",
        "A condition or an Idempotency-Key is malformed, or this endpoint doesn't support the condition. "
        "Nothing was changed.",
        '`errors` has the messages for each header. Tags have quotes: `If-Match: "7"`.',
        example='If-Match must be * or a list of entity tags in quotes, like "7", "9".',
        errors={"If-Match": ['Must be * or a list of entity tags in quotes, like "7", "9".']},
    ),
    ProblemType(
        "unauthorized",
        401,
        "Unauthorized",
        "The token is missing, malformed, expired, not valid yet, meant for another service, or not from the issuer "
        "that this service trusts.",
        "`detail` and `WWW-Authenticate` (RFC 6750) say what is wrong. Send `Authorization: Bearer <token>`.",
        example="The token has expired; get a new one.",
        headers=("WWW-Authenticate",),
    ),
    ProblemType(
        "task-not-found",
        404,
        "Task not found",
        "You have no task with this id. The response is the same if the task belongs to another user.",
        "Discard the id; list the tasks, or get the changes, to see which tasks exist.",
        "You have no task with this id.",
    ),
    ProblemType(
        "route-not-found",
        404,
        "Route not found",
        "There is no such path. A path with a slash at the end is a different path.",
        "Compare the path with the description of the API.",
        "There is no such path; GET / shows where to find the documentation.",
    ),
    ProblemType(
        "method-not-allowed",
        405,
        "Method not allowed",
        "The path exists, but doesn't support this method.",
        "`Allow` lists the supported methods.",
        example="POST is not supported here; supported methods: DELETE, GET, HEAD, PATCH, PUT.",
        headers=("Allow",),
    ),
    ProblemType(
        "request-timeout",
        408,
        "Request timeout",
        "The request took too long to arrive. Nothing was changed.",
        "Send it again, on a new connection.",
        "The request took too long to arrive: nothing was changed, send it again.",
    ),
    ProblemType(
        "task-deleted",
        410,
        "Task deleted",
        "The task that this Idempotency-Key created has been deleted, and stays deleted.",
        "If you repeated a request, there is nothing to do. Otherwise send a new key with a new task.",
        "The task that was created with this Idempotency-Key has been deleted since.",
    ),
    ProblemType(
        "start-over",
        410,
        "Start over",
        "`since` belongs to data that no longer exists: the user deleted everything, or a backup was restored.",
        "Discard the copy, and synchronise again without `since`.",
        "`since` belongs to data that no longer exists: discard your copy, and synchronise again without `since`.",
    ),
    ProblemType(
        "precondition-failed",
        412,
        "Precondition failed",
        "If-Match lacks the current tag: the data has changed since, or the tag was weak. Nothing was changed.",
        "Get the current state (its tag is in `ETag`), decide again, and repeat the request with this tag.",
        "The current ETag is not in If-Match (weak tags never match): get the current state, and decide again.",
        headers=("ETag",),
    ),
    ProblemType(
        "body-too-large",
        413,
        "Body too large",
        f"The body is larger than {BODY_BYTES:,} bytes.",
        "Send a smaller body: no task needs that much.",
        f"The request body must not be larger than {BODY_BYTES:,} bytes.",
    ),
    ProblemType(
        "unsupported-media-type",
        415,
        "Unsupported media type",
        "The body is not declared as JSON, has a charset other than UTF-8, or is compressed.",
        "Send `Content-Type: application/json` and no `Content-Encoding`.",
        example="The request body must be application/json in UTF-8.",
        headers=("Accept-Patch",),
    ),
    ProblemType(
        "idempotency-key-reused",
        422,
        "Idempotency key reused",
        "This key was sent before with another body. Nothing was created.",
        "Use a new key for each new task, and repeat a request without changes.",
        "This Idempotency-Key was sent before with another body: send a new key with a new task.",
    ),
    ProblemType(
        "internal-error",
        500,
        "Internal error",
        "An unexpected error occurred in the service, which has logged it.",
        "Tell the operator of the service. A change may have been made: check before you repeat the request.",
        "Something went wrong in the service; it has been logged.",
    ),
    ProblemType(
        "method-not-implemented",
        501,
        "Method not implemented",
        "The service doesn't know the method of the request. Nothing was changed, and the connection is closed.",
        "Use a method of the API, in capitals: the case of letters matters (RFC 9110, section 9.1).",
        example="The service doesn't know the method patch; methods are written in capitals, like PATCH.",
    ),
    ProblemType(
        "unavailable",
        503,
        "Unavailable",
        "The database or the issuer can't be reached, the database isn't migrated, or the service is overloaded. "
        "Nothing was changed.",
        "Wait for the seconds in `Retry-After`, then repeat the request.",
        "The database can't be reached or is busy, nothing was changed: try again.",
        headers=("Retry-After",),
    ),
    ProblemType(
        "outcome-unknown",
        503,
        "Outcome unknown",
        "After a timeout or a lost connection, the database did not confirm the change: it may have been made or not.",
        "If the request had an Idempotency-Key, or one tag in If-Match, repeat it unchanged. Otherwise read your tasks "
        "before you repeat it.",
        "The database did not confirm the change: it may have been made or not. If the request had an "
        "Idempotency-Key, or an If-Match with one tag, repeat it unchanged. Otherwise read your tasks first.",
    ),
)

TYPES = {kind.name: kind for kind in ALL}
"""The problem types by name."""
