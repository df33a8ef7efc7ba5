"""The map of the service: all routes, and all middlewares in the order in which they run.

A request passes observability/middleware.py, http/in_flight.py, http/headers.py, problems/middleware.py,
auth/middleware.py and http/validation.py, then its handler. The handler runs the statement of the same name in sql/
with `run` of database/database.py.
"""

from functools import cache

from aiohttp import web

from todo_service.auth import authenticate, verifier_context
from todo_service.database import database_context
from todo_service.handlers import health, me, tasks
from todo_service.http import (
    COMPRESSION,
    DESCRIPTION,
    IN_FLIGHT,
    ROUTES,
    ChangesQuerySchema,
    CompletionSchema,
    CreateHeadersSchema,
    InFlight,
    ListQuerySchema,
    NewTaskSchema,
    ReadHeadersSchema,
    Route,
    RouteTable,
    TaskPatchSchema,
    WriteHeadersSchema,
    add_headers,
    describe,
    docs_pages,
    validate,
)
from todo_service.library_internals import ignore_unknown_expectations
from todo_service.observability.middleware import OBSERVER, Observer, get_metrics
from todo_service.problems import BODY_BYTES, problems
from todo_service.settings import Settings

READ, WRITE = ReadHeadersSchema(), WriteHeadersSchema()
PATCH = TaskPatchSchema()

# The path of a task. `task_id` matches each segment except `changes`, so a malformed id gets 404 like an unknown id.
TASK = "/api/tasks/{task_id:(?!changes$)[^/]+}"

API = (
    Route("GET", "/api/tasks", tasks.list_tasks, query=ListQuerySchema(), headers=READ),
    Route(
        "POST",
        "/api/tasks",
        tasks.create_task,
        body=NewTaskSchema(),
        headers=CreateHeadersSchema(),
        problems=("task-deleted", "idempotency-key-reused"),
    ),
    Route("GET", "/api/tasks/changes", tasks.list_changes, query=ChangesQuerySchema(), problems=("start-over",)),
    Route("GET", TASK, tasks.get_task, headers=READ),
    Route("PATCH", TASK, tasks.update_task, body=PATCH, headers=WRITE),
    Route("PUT", TASK, tasks.update_task, body=PATCH, headers=WRITE),
    Route("DELETE", TASK, tasks.delete_task, headers=WRITE),
    Route("PATCH", f"{TASK}/complete", tasks.complete_task, body=CompletionSchema(), headers=WRITE),
    Route("GET", "/api/export", me.export_tasks),
    Route("DELETE", "/api/me", me.delete_me),
    Route("GET", "/health", health.get_health, public=True),
    Route("GET", "/health/ready", health.get_readiness, public=True, problems=("unavailable",)),
)

SUPPORT = (
    Route("GET", "/metrics", get_metrics, public=True, problems=("unauthorized",)),
    Route("GET", "/problems", docs_pages.get_problems, public=True),
    Route("GET", "/docs/static/problems.css", docs_pages.get_file, public=True),
)

DOCS = (
    Route("GET", "/", docs_pages.redirect_to_docs, public=True),
    Route("GET", "/docs", docs_pages.get_docs, public=True),
    Route("GET", "/openapi.json", docs_pages.get_description, public=True),
    *(Route("GET", f"/docs/static/{name}", docs_pages.get_file, public=True) for name in docs_pages.DOCS_FILES),
)

WITHOUT_DOCS = (Route("GET", "/", docs_pages.get_name, public=True),)


def create_app(settings: Settings) -> web.Application:
    """The application. Each request passes the middlewares from the first to the last."""
    ignore_unknown_expectations()
    observer, in_flight, routes = Observer(settings), InFlight(), RouteTable()
    app = web.Application(
        middlewares=[
            observer.observe,  # gives each request an id, and logs and counts the request
            in_flight.count,  # counts the requests that a worker finishes before it stops
            add_headers(settings.cors_origins),  # security, caching, CORS; compression; answers preflight requests
            problems,  # turns errors of the next two middlewares and of the handler into problem documents
            authenticate(routes),  # sets request[USER_ID]
            validate(routes),  # sets the values for the handler: request[NEW_TASK], request[LIST_QUERY], ...
        ],
        client_max_size=BODY_BYTES,
    )
    app[IN_FLIGHT] = in_flight
    app[ROUTES] = routes
    app[COMPRESSION] = settings.compression == "on"
    app[OBSERVER] = observer
    app[DESCRIPTION] = description()
    app[docs_pages.DOCS_TOKEN] = settings.docs_token
    # aiohttp ends the last context first. So the observer can still read the counters of the database when it ends.
    app.cleanup_ctx.extend([database_context(settings), verifier_context(settings), observer.context])
    routes.add(app, [*API, *SUPPORT, *(DOCS if settings.docs == "on" else WITHOUT_DOCS)])
    return app


@cache
def description() -> bytes:
    """The description of the API (OpenAPI, JSON). Each process builds it once."""
    return describe(API)
