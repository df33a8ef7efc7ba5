"""Observes each request: gives it an id, has it logged and counted. It takes 2 us, so all of that is in one place."""

import re
import time
from bisect import bisect_left
from collections.abc import AsyncIterator
from random import Random

from aiohttp import web
from aiohttp.typedefs import Handler

from todo_service.auth import USER_ID
from todo_service.database import DATABASE
from todo_service.operations.log import RequestLog
from todo_service.operations.logfmt import REQUEST_ID
from todo_service.operations.metrics import DURATIONS, PATH, Metrics
from todo_service.settings import Settings

ID = re.compile(r"[\w./:+=-]{1,128}", re.ASCII)
HEADER = "X-Request-ID"


def add_operations(app: web.Application, settings: Settings) -> None:
    """Makes the application log and count its requests, and serve /metrics. Comes last: it sees what others answer."""
    log, metrics = RequestLog(settings), Metrics(settings)
    random_bits = Random().getrandbits  # noqa: S311 - an id is no secret, but numbers would tell how many there are

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        request_id = request.headers.get(HEADER)
        if request_id is None or not ID.fullmatch(request_id):
            request_id = f"{random_bits(64):016x}"
        REQUEST_ID.set(request_id)
        response = await handler(request)
        response.headers[HEADER] = request_id
        key = request.method, request.match_info.route.resource, response.status
        kind = metrics.kinds.get(key) or metrics.new_kind(key)
        seconds = time.perf_counter() - began
        kind.counts[bisect_left(DURATIONS, seconds)] += 1
        kind.seconds += seconds
        if kind.level >= log.level:
            log.write(kind.text, seconds, request_id, request.get(USER_ID))
        return response

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with metrics.kept(app[DATABASE]):
            yield
        log.flush()

    app.middlewares.insert(0, observe)
    app.cleanup_ctx.append(context)
    app.router.add_get(PATH, metrics.serve)
