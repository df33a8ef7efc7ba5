"""HTTP: the routes and their schemas, headers, validation, entity tags, cursors, and the API's description."""

from todo_service.http import docs_pages
from todo_service.http.compression import COMPRESSION, GZIP, accepts_gzip, compress_stream
from todo_service.http.cursors import ORDERS, SORTS, Cursor, next_link
from todo_service.http.docs_pages import DESCRIPTION
from todo_service.http.etags import ANY, Tags, empty_list_token, matching_tag
from todo_service.http.headers import SECURITY_HEADERS, add_headers
from todo_service.http.idempotency import derive_task_id, fingerprint
from todo_service.http.in_flight import IN_FLIGHT, InFlight, reset
from todo_service.http.openapi import describe
from todo_service.http.parameters import (
    CHANGES_QUERY,
    CONDITIONS,
    CREATE_HEADERS,
    LIST_QUERY,
    NO_FILTERS,
    TASK_ID,
    ChangesQuerySchema,
    CreateHeadersSchema,
    ListQuerySchema,
    ReadHeadersSchema,
    WriteHeadersSchema,
)
from todo_service.http.routes import ROUTES, Route, RouteTable, is_api
from todo_service.http.schemas import (
    COMPLETION,
    NEW_TASK,
    TASK_PATCH,
    ChangesSchema,
    CompletionSchema,
    HealthSchema,
    NewTaskSchema,
    TaskPatchSchema,
    TaskSchema,
)
from todo_service.http.validation import refuse_differing, task_not_found, validate

__all__ = [
    "ANY",
    "CHANGES_QUERY",
    "COMPLETION",
    "COMPRESSION",
    "CONDITIONS",
    "CREATE_HEADERS",
    "DESCRIPTION",
    "GZIP",
    "IN_FLIGHT",
    "LIST_QUERY",
    "NEW_TASK",
    "NO_FILTERS",
    "ORDERS",
    "ROUTES",
    "SECURITY_HEADERS",
    "SORTS",
    "TASK_ID",
    "TASK_PATCH",
    "ChangesQuerySchema",
    "ChangesSchema",
    "CompletionSchema",
    "CreateHeadersSchema",
    "Cursor",
    "HealthSchema",
    "InFlight",
    "ListQuerySchema",
    "NewTaskSchema",
    "ReadHeadersSchema",
    "Route",
    "RouteTable",
    "Tags",
    "TaskPatchSchema",
    "TaskSchema",
    "WriteHeadersSchema",
    "accepts_gzip",
    "add_headers",
    "compress_stream",
    "derive_task_id",
    "describe",
    "docs_pages",
    "empty_list_token",
    "fingerprint",
    "is_api",
    "matching_tag",
    "next_link",
    "refuse_differing",
    "reset",
    "task_not_found",
    "validate",
]
