"""The description of the API, made from what the handlers declare, and the page that shows it."""

import warnings
from typing import Any

from aiohttp import web
from aiohttp_apispec import AiohttpApiSpec

from todo_service import __version__

DESCRIPTION = "/openapi.json"
PAGE = "/docs"
STATIC = "/docs/static"

# The page loads nothing foreign and asks nobody else, whatever its address says; its start-up code is inline.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)


class Description(AiohttpApiSpec):  # type: ignore[misc]
    """Reads what handlers declare; leaves it as it is, for the next route of a handler and for the next application."""

    def _update_paths(self, data: dict[str, Any], method: str, url_path: str) -> None:
        if method != "head":  # what GET says goes for HEAD
            super()._update_paths({**data, "parameters": list(data["parameters"])}, method, url_path)


def add_description(app: web.Application) -> None:
    """Adds the description and the page. All other routes must be there already."""
    description = Description(
        url=DESCRIPTION,
        swagger_path=PAGE,
        static_path=STATIC,
        title="todo-service",
        version=__version__,
        info={"description": "Tasks of many users. Every request needs a token: `Authorization: Bearer <token>`."},
        securityDefinitions={"bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}},
        security=[{"bearer": []}],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", web.NotAppKeyWarning)  # the package keeps its things under plain names
        description.register(app, in_place=True)
    app.on_response_prepare.append(_restrict_page)


async def _restrict_page(request: web.Request, response: web.StreamResponse) -> None:
    if request.path == PAGE:
        response.headers["Content-Security-Policy"] = PAGE_POLICY
