"""HTTP: the routes and their schemas, headers, validation, entity tags, cursors, and the API's description."""

from todo_service.http import docs_pages
from todo_service.http.compression import COMPRESSION, GZIP, compress_stream, should_gzip
from todo_service.http.cursors import ORDERS, SORTS, Cursor, next_link
from todo_service.http.docs_pages import DESCRIPTION
from todo_service.http.etags import ANY, Tags, empty_list_token, match_tag
from todo_service.http.headers import PUBLIC_HEADERS, add_headers
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
    Conditions,
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
    example_of,
)
from todo_service.http.validation import refuse_mismatches, task_not_found, validate

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
    "PUBLIC_HEADERS",
    "ROUTES",
    "SORTS",
    "TASK_ID",
    "TASK_PATCH",
    "ChangesQuerySchema",
    "ChangesSchema",
    "CompletionSchema",
    "Conditions",
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
    "add_headers",
    "compress_stream",
    "derive_task_id",
    "describe",
    "docs_pages",
    "empty_list_token",
    "example_of",
    "fingerprint",
    "is_api",
    "match_tag",
    "next_link",
    "refuse_mismatches",
    "reset",
    "should_gzip",
    "task_not_found",
    "validate",
]
