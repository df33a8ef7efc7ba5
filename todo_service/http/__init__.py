"""What the API is made of: headers, validation of requests, entity tags, cursors, and the API's description."""

from todo_service.http.cursors import ORDERS, SORTS, Position, link_to
from todo_service.http.docs_pages import add_documentation
from todo_service.http.etags import EVERY, revision_of, version_of_nothing
from todo_service.http.headers import SECURITY_HEADERS, cors
from todo_service.http.idempotency import derive_task_id, fingerprint
from todo_service.http.in_flight import TRAFFIC, Traffic, reset
from todo_service.http.openapi import describe
from todo_service.http.parameters import (
    NO_FILTERS,
    ChangesQuerySchema,
    CreateHeadersSchema,
    ListQuerySchema,
    ReadHeadersSchema,
    TaskPathSchema,
    WriteHeadersSchema,
)
from todo_service.http.schemas import (
    ChangesSchema,
    CompletionSchema,
    HealthSchema,
    NewTaskSchema,
    TaskPatchSchema,
    TaskSchema,
)
from todo_service.http.validation import BODY, HEADERS, QUERY, TASK_ID, task_not_found, validate

__all__ = [
    "BODY",
    "EVERY",
    "HEADERS",
    "NO_FILTERS",
    "ORDERS",
    "QUERY",
    "SECURITY_HEADERS",
    "SORTS",
    "TASK_ID",
    "TRAFFIC",
    "ChangesQuerySchema",
    "ChangesSchema",
    "CompletionSchema",
    "CreateHeadersSchema",
    "HealthSchema",
    "ListQuerySchema",
    "NewTaskSchema",
    "Position",
    "ReadHeadersSchema",
    "TaskPatchSchema",
    "TaskPathSchema",
    "TaskSchema",
    "Traffic",
    "WriteHeadersSchema",
    "add_documentation",
    "cors",
    "derive_task_id",
    "describe",
    "fingerprint",
    "link_to",
    "reset",
    "revision_of",
    "task_not_found",
    "validate",
    "version_of_nothing",
]
