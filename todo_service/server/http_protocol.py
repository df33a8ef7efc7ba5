"""HTTP connections: a time limit for headers, and problem documents for malformed HTTP."""

import asyncio
from http import HTTPStatus
from typing import cast

from aiohttp import web

from todo_service.http import SECURITY_HEADERS
from todo_service.library_internals import RequestHandler
from todo_service.problems import Problem

HEADER_SECONDS = 15.0
"""The time limit for the headers of a request. It starts with the first TCP segment that has no data of other requests.

The limit for bodies is in validation.py. A connection without any data is closed after `keepalive_timeout`.
"""


class Connection(RequestHandler):
    """A connection with a time limit for headers, and with problem documents for errors.

    aiohttp's own class applies the limit for idle connections to incomplete headers, and sends errors as plain text.
    """

    __slots__ = ("_timer",)

    def __init__(self, server: web.Server, **options: object) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type]
        self._timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        requests = self.requests_started
        super().data_received(data)
        if self._timer is not None:
            if self.requests_started != requests:
                self._stop_timer()
        elif self.requests_started == requests and self.is_waiting_for_headers:
            self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._time_out)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Returns a problem document. aiohttp's message would quote malformed HTTP, which may contain a token."""
        if status == HTTPStatus.BAD_REQUEST:
            self.logger.info("refused malformed HTTP")
            problem = Problem("malformed-request", "This is not valid HTTP/1.1, or it has too many headers.")
        else:
            super().handle_error(request, status, exc, message)  # this logs the error
            problem = Problem("internal-error")
        response = problem.response()
        response.headers.merge(SECURITY_HEADERS)
        response.force_close()
        return response

    def _time_out(self) -> None:
        self.logger.info("refused a request whose headers took too long")
        if self.transport is not None:
            self.transport.write(_to_bytes(Problem("request-timeout").response()))
        self.force_close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _to_bytes(response: web.Response) -> bytes:
    """The bytes of a response, for a connection that has received no complete request yet."""
    body = cast("bytes", response.body)
    response.headers["Content-Length"] = str(len(body))
    response.headers["Connection"] = "close"
    response.headers.merge(SECURITY_HEADERS)
    status = HTTPStatus(response.status)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
