"""The map of the service: its routes, its middlewares, and what it holds while it runs."""

from functools import cache

from aiohttp import web

from todo_service.auth import authenticate, verifier_context
from todo_service.database import database_context
from todo_service.handlers import health, me, tasks
from todo_service.http import TRAFFIC, Traffic, add_documentation, cors, describe, validate
from todo_service.library_internals import adapt_aiohttp
from todo_service.observability.middleware import add_operations
from todo_service.problems import BODY_BYTES, problems
from todo_service.settings import Settings

TASK = "/api/tasks/{task_id:(?!changes$)[^/]+}"  # whatever is there is a task's id, if perhaps a wrong one

ROUTES = (
    web.get("/api/tasks", tasks.list_tasks),
    web.post("/api/tasks", tasks.create_task),
    web.get("/api/tasks/changes", tasks.list_changes),
    web.get(TASK, tasks.get_task),
    web.patch(TASK, tasks.update_task),  # whose operation has the handler's name, because it comes first
    web.put(TASK, tasks.update_task),
    web.delete(TASK, tasks.delete_task),
    web.patch(f"{TASK}/complete", tasks.complete_task),
    web.get("/api/export", me.export_tasks),
    web.delete("/api/me", me.delete_me),
    web.get("/health", health.get_health),
    web.get("/health/ready", health.get_readiness),
)


def create_app(settings: Settings) -> web.Application:
    """The whole service. Each request passes the middlewares from the first to the last."""
    adapt_aiohttp()
    traffic = Traffic()
    app = web.Application(
        middlewares=[traffic.count, cors(settings.cors_origins), problems, authenticate, validate],
        client_max_size=BODY_BYTES,
    )
    app[TRAFFIC] = traffic
    app.cleanup_ctx.append(database_context(settings))
    app.cleanup_ctx.append(verifier_context(settings))
    app.add_routes(ROUTES)
    add_documentation(app, settings, description())
    add_operations(app, settings)
    return app


@cache
def description() -> bytes:
    """The description of the API (OpenAPI, JSON), built once in a process."""
    return describe(ROUTES)
