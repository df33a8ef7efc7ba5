"""Observes each request: gives it an id, has it logged and counted.

While a request is served it is only noted; lines are written and numbers added for many at a time, which takes half of
the time that it would take in between.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from secrets import token_hex
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import istr

from todo_service.auth import USER_ID
from todo_service.background import Background
from todo_service.database import DATABASE, Database
from todo_service.observability.logs import RequestLog
from todo_service.observability.metrics import PATH, Metrics, Seen
from todo_service.settings import Settings

HEADER = istr("X-Request-ID")
USABLE_ID = re.compile(r"[\w./:+=-]{1,128}", re.ASCII)
SETTLE_SECONDS = 0.1
SETTLE_REQUESTS = 200  # which takes 0.3 ms: nobody waits for longer


def add_operations(app: web.Application, settings: Settings) -> None:
    """Makes the application log and count its requests, and serve /metrics. Comes last: it sees what others answer."""
    observer = Observer(settings)
    app.middlewares.insert(0, observer.observe)
    app.cleanup_ctx.append(observer.context)
    app.router.add_get(PATH, observer.serve_metrics)


class Observer:
    """What is known of the requests of this process."""

    def __init__(self, settings: Settings) -> None:
        self._log, self._metrics = RequestLog(settings), Metrics(settings)
        self._background = Background()
        self._ids = _random_ids()
        self._seen: list[Seen] = []

    @web.middleware
    async def observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A middleware around all others."""
        began = perf_counter()
        request_id = request.headers.get(HEADER)
        if request_id is None or not USABLE_ID.fullmatch(request_id):
            request_id = next(self._ids)
        response = await handler(request)
        response.headers[HEADER] = request_id
        resource = request.match_info.route.resource or await _resource_of_others(request)
        key = request.method, resource, response.status
        kind = self._metrics.kinds.get(key) or self._metrics.new_kind(key)
        self._seen.append((kind, began, perf_counter(), request_id, request.get(USER_ID)))
        if len(self._seen) == SETTLE_REQUESTS:
            asyncio.get_running_loop().call_soon(self._background.run, self._settle)
        return response

    async def context(self, app: web.Application) -> AsyncIterator[None]:
        """Settles what was seen while the application runs, and at its end."""
        database = app[DATABASE]
        self._background.start(self._keep_settling(database), "log and metrics")
        yield
        await self._background.stop()
        self._settle()
        self._metrics.add(database)

    async def serve_metrics(self, request: web.Request) -> web.Response:
        """GET /metrics"""
        self._metrics.check_token(request)
        self._settle()
        self._metrics.add(request.app[DATABASE])
        if self._metrics.has_others:
            await asyncio.sleep(SETTLE_SECONDS * 2)  # until all processes have added what they had seen by now
        return self._metrics.response()

    async def _keep_settling(self, database: Database) -> None:
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            self._settle()
            self._metrics.add(database)

    def _settle(self) -> None:
        seen, self._seen = self._seen, []
        self._metrics.count(seen)
        self._log.write(seen)


async def _resource_of_others(request: web.Request) -> web.AbstractResource | None:
    """The resource at this path, if only other methods are possible there: CORS asks for it by OPTIONS."""
    refusal = request.match_info.http_exception
    if not isinstance(refusal, web.HTTPMethodNotAllowed):
        return None
    possible = request.clone(method=next(iter(refusal.allowed_methods)))
    return (await request.app.router.resolve(possible)).route.resource


def _random_ids() -> Iterator[str]:
    """Ids that tell nothing, not even how many there are."""
    while True:
        digits = token_hex(8 * 1000)
        for start in range(0, len(digits), 16):
            yield digits[start : start + 16]
