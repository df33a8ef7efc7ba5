"""The middleware that gives each request an id, logs it and counts it.

While a request is served, the middleware only records it. It writes the log lines and the metrics later, for many
requests together, which takes half the time.
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
from todo_service.observability.logfmt import REQUEST_ID
from todo_service.observability.logs import RequestLog
from todo_service.observability.metrics import Metrics, RequestRecord
from todo_service.settings import Settings

HEADER = istr("X-Request-ID")
USABLE_ID = re.compile(r"[\w./:+=-]{1,128}", re.ASCII)
FLUSH_SECONDS = 0.1
FLUSH_REQUESTS = 200  # a flush of 200 takes 0.3 ms, during which other requests wait


class Observer:
    """The log and the metrics of this process."""

    def __init__(self, settings: Settings) -> None:
        self._log, self._metrics = RequestLog(settings), Metrics(settings)
        self._background = Background()
        self._ids = _random_ids()
        self._records: list[RequestRecord] = []

    @web.middleware
    async def observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware."""
        began = perf_counter()
        request_id = request.headers.get(HEADER)
        if request_id is None or not USABLE_ID.fullmatch(request_id):
            request_id = next(self._ids)
        before = REQUEST_ID.set(request_id)
        response = await handler(request)
        REQUEST_ID.reset(before)
        response.headers[HEADER] = request_id
        resource = request.match_info.route.resource or await _resource_of_other_methods(request)
        key = request.method, resource, response.status
        series = self._metrics.series.get(key) or self._metrics.new_series(key)
        self._records.append((series, began, perf_counter(), request_id, request.get(USER_ID)))
        if len(self._records) == FLUSH_REQUESTS:
            asyncio.get_running_loop().call_soon(self._background.run, self._flush)
        return response

    async def context(self, app: web.Application) -> AsyncIterator[None]:
        """The cleanup context that flushes the recorded requests, regularly and at the end."""
        database = app[DATABASE]
        self._background.start(self._flush_regularly(database), "log and metrics")
        yield
        await self._background.stop()
        self._flush()
        self._metrics.add(database)

    async def metrics_response(self, request: web.Request) -> web.Response:
        """The metrics of all processes. Raises Problem if METRICS_TOKEN is set and the request doesn't have it."""
        self._metrics.check_token(request)
        self._flush()
        self._metrics.add(request.app[DATABASE])
        if self._metrics.is_multiprocess:
            await asyncio.sleep(FLUSH_SECONDS * 2)  # waits until each process has added its counts
        return self._metrics.response()

    async def _flush_regularly(self, database: Database) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self._flush()
            self._metrics.add(database)

    def _flush(self) -> None:
        records, self._records = self._records, []
        self._metrics.count(records)
        self._log.write(records)


OBSERVER = web.AppKey("observer", Observer)


async def get_metrics(request: web.Request) -> web.Response:
    """GET /metrics"""
    return await request.app[OBSERVER].metrics_response(request)


async def _resource_of_other_methods(request: web.Request) -> web.AbstractResource | None:
    """The resource at this path, if the path exists but doesn't support the request's method (for example OPTIONS)."""
    error = request.match_info.http_exception
    if not isinstance(error, web.HTTPMethodNotAllowed):
        return None
    possible = request.clone(method=next(iter(error.allowed_methods)))
    return (await request.app.router.resolve(possible)).route.resource


def _random_ids() -> Iterator[str]:
    """Random ids, which reveal nothing, not even the number of requests."""
    while True:
        digits = token_hex(8 * 1000)
        for start in range(0, len(digits), 16):
            yield digits[start : start + 16]
