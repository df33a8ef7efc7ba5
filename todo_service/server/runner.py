"""The runner of the application in each gunicorn worker. Only workers import this module: see `__init__.py`."""

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from todo_service.app import create_app
from todo_service.observability.logs import configure_logging
from todo_service.server.graceful import Runner
from todo_service.settings import read_settings

# The log of aiohttp's server, without tracebacks of malformed HTTP: they may quote a token.
http_log = logging.getLogger("todo_service.http")
http_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))

SERVER_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,  # a compressed body is refused
    "keepalive_timeout": 75.0,  # seconds; longer than the idle timeout of routers in front of the service
    "logger": http_log,
    "max_field_size": 64 * 1024,  # bytes; large enough that an overlong token gets 401, not 400
    "max_line_size": 64 * 1024,  # bytes; large enough that an overlong query reaches validation
    "shutdown_timeout": 1.0,  # seconds; applies twice to requests that the graceful shutdown didn't finish
}
"""The options of aiohttp's server."""


async def create_runner() -> web.AppRunner:
    """The application's runner, with settings from the environment."""
    settings = read_settings()
    configure_logging(settings)
    return Runner(create_app(settings), **SERVER_OPTIONS)
