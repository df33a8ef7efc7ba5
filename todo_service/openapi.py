"""The description of the API, made from what the handlers declare, and the page that shows it."""

import json
from pathlib import Path
from typing import Any

import aiohttp_apispec
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

    def read(self, app: web.Application) -> tuple[str, dict[str, Path]]:
        """Reads the routes of an application; returns the package's page for them, and the files that it loads."""
        for route in app.router.routes():
            self._register_route(route, route.method.lower(), route.handler)
        folder = Path(aiohttp_apispec.__file__).parent / "static"
        files = {path.name: path for path in folder.iterdir() if path.suffix != ".html"}
        return self._get_index_page(None, folder, STATIC), files

    def _update_paths(self, data: dict[str, Any], method: str, url_path: str) -> None:
        if method != "head":  # what GET says goes for HEAD
            super()._update_paths({**data, "parameters": list(data["parameters"])}, method, url_path)


def add_description(app: web.Application) -> None:
    """Adds the description, the page and its files. All other routes must be there already."""
    description = Description(
        url=DESCRIPTION,
        title="todo-service",
        version=__version__,
        info={"description": "Tasks of many users. Every request needs a token: `Authorization: Bearer <token>`."},
        securityDefinitions={"bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}},
        security=[{"bearer": []}],
    )
    page, files = description.read(app)
    document = json.dumps(description.swagger_dict()).encode()

    async def get_description(_request: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    async def get_page(_request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})

    async def get_file(request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] not in files:
            raise web.HTTPNotFound
        return web.FileResponse(files[request.match_info["name"]])

    app.router.add_get(DESCRIPTION, get_description)
    app.router.add_get(PAGE, get_page)
    app.router.add_get(f"{STATIC}/{{name}}", get_file)
