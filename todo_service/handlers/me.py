"""The endpoints for all data of a user: export and deletion."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

from aiohttp import HttpVersion11, hdrs, web
from aiohttp_apispec import docs

from todo_service.auth import USER_ID
from todo_service.database import DATABASE, Database, read_statement
from todo_service.http import GZIP, IN_FLIGHT, TaskSchema, compress_stream, example_of, reset, should_gzip
from todo_service.problems import Problem

DELETE_ME = read_statement("me/delete_me")
EXPORT_TASKS = read_statement("me/export_tasks")

Page = tuple[bytes, str | None, UUID | None]
"""The lines of some tasks, and the key and the id of the first task after them."""

EXAMPLE_LINE = json.dumps(example_of(TaskSchema())) + "\n"
PAGE_SIZE = 100  # tasks in memory for each export: a client may read slowly


@docs(
    tags=["me"],
    summary="Export your tasks",
    description="One task on each line (NDJSON), oldest first.",
    produces=["application/x-ndjson"],
    responses={200: {"description": "All your tasks", "schema": {"type": "string", "examples": [EXAMPLE_LINE]}}},
)
async def export_tasks(request: web.Request) -> web.Response:
    """GET /api/export"""
    # An error of the first page still becomes a problem document.
    first = await _page(request.app[DATABASE], request[USER_ID], None, None)
    headers = {hdrs.CONTENT_TYPE: "application/x-ndjson; charset=utf-8"}
    lines, _, next_id = first
    if next_id is None:
        return web.Response(body=lines, headers=headers)
    request.app[IN_FLIGHT].count_until_sent(request)
    stream = _stream(request, *first)
    if should_gzip(request):
        stream, headers[hdrs.CONTENT_ENCODING] = compress_stream(stream), GZIP
    response = web.Response(body=stream, headers=headers)
    if request.version < HttpVersion11:
        response.force_close()  # HTTP/1.0 has no chunks: the end of the connection is the end of the body
    return response


@docs(
    tags=["me"],
    summary="Delete all your data",
    description="The data is deleted at once, and can't be restored. Your token stays valid: you can create new tasks.",
    responses={204: {"description": "All your data is deleted"}},
)
async def delete_me(request: web.Request) -> web.Response:
    """DELETE /api/me"""
    await request.app[DATABASE].run(DELETE_ME, request[USER_ID])
    return web.Response(status=204)


async def _page(database: Database, user_id: str, key: str | None, task_id: UUID | None) -> Page:
    row = await database.run(EXPORT_TASKS, user_id, PAGE_SIZE, key, task_id)
    return (row["body"] or "").encode(), row["next_key"], row["next_id"]


async def _stream(request: web.Request, lines: bytes, key: str | None, task_id: UUID | None) -> AsyncIterator[bytes]:
    """Yields these lines, then the lines of all later pages. Reads each page after the previous one has been sent."""
    yield lines
    while task_id:
        try:
            lines, key, task_id = await _page(request.app[DATABASE], request[USER_ID], key, task_id)
        except BaseException as error:
            reset(request.transport)
            if isinstance(error, Problem):  # it has been logged
                raise ConnectionAbortedError("The rest of the export can't be read.") from error
            raise
        yield lines
