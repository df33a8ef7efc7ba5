"""The application as each gunicorn worker runs it. Only workers load this: a replaced one has the code of its time."""

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from todo_service.app import create_app
from todo_service.observability.logs import configure_logging
from todo_service.server.graceful import Runner
from todo_service.settings import read_settings

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
    "shutdown_timeout": 1.0,  # seconds, twice: for what is left when requests were waited for
}
"""How the application is served."""


async def create_runner() -> web.AppRunner:
    """What each gunicorn worker runs, with settings from the environment."""
    settings = read_settings()
    configure_logging(settings)
    return Runner(create_app(settings), **SERVER_OPTIONS)
