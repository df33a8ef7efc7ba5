"""The map of the service: its routes, its middlewares, and what it holds while it runs."""

import logging
import sys
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from todo_service.auth import authenticate, verifier_context
from todo_service.cors import cors
from todo_service.database import database_context
from todo_service.errors import BODY_BYTES, problems
from todo_service.handlers import health, tasks
from todo_service.openapi import add_description
from todo_service.settings import Settings, read_settings
from todo_service.shutdown import TRAFFIC, Runner, Traffic, count_requests
from todo_service.validation import validate

http_log = logging.getLogger("todo_service.http")
http_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
"""What aiohttp's server logs, but for what is no HTTP: that was answered with 400, and may quote a token."""

SERVER_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,  # a coded body is refused, and needs no decoder to be thrown away
    "keepalive_timeout": 75.0,  # seconds; longer than the routers in front keep theirs
    "logger": http_log,
    "max_field_size": 64 * 1024,  # bytes of a header field, so that a token that is too long is refused as a token,
    "max_line_size": 64 * 1024,  # and of an address, so that a query that is too long is refused as a query
    "shutdown_timeout": 2.0,  # seconds for what is left when requests were waited for
}
"""How the application is served."""


def create_app(settings: Settings) -> web.Application:
    """The whole service. Each request passes the middlewares from the first to the last."""
    app = web.Application(
        middlewares=[count_requests, cors(settings.cors_origins), problems, authenticate, validate],
        client_max_size=BODY_BYTES,
    )
    app[TRAFFIC] = Traffic()
    app.cleanup_ctx.append(database_context(settings))
    app.cleanup_ctx.append(verifier_context(settings))
    app.add_routes(
        [
            web.get("/api/tasks", tasks.list_tasks),
            web.post("/api/tasks", tasks.create_task),
            web.get("/api/tasks/{task_id}", tasks.get_task),
            web.put("/api/tasks/{task_id}", tasks.update_task),
            web.patch("/api/tasks/{task_id}", tasks.update_task),
            web.delete("/api/tasks/{task_id}", tasks.delete_task),
            web.patch("/api/tasks/{task_id}/complete", tasks.complete_task),
            web.get("/health", health.get_health),
            web.get("/health/ready", health.get_readiness),
        ]
    )
    add_description(app)
    return app


async def create_runner() -> web.AppRunner:
    """What each gunicorn worker runs, with settings from the environment."""
    settings = read_settings()
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    return Runner(create_app(settings), **SERVER_OPTIONS)
