"""HTTP connections: a time limit for headers, and problem documents for malformed HTTP and unknown methods."""

import asyncio
import re
from contextlib import suppress
from http import HTTPStatus
from typing import cast

from aiohttp import hdrs, web

from todo_service.http import PUBLIC_HEADERS
from todo_service.library_internals import UNKNOWN_METHOD, RequestHandler, respond_with_http_1_1
from todo_service.problems import Problem

HEADER_SECONDS = 15.0
"""The time limit for the headers of a request. It starts with the first data, unless this data has all headers.

The limit for bodies is in validation.py. A connection without any data is closed after `keepalive_timeout`.
"""

CLOSING_SECONDS = 5.0
"""The time limit for a client that still sends data after the response to malformed HTTP or an unknown method."""

MALFORMED = "This is not valid HTTP/1.1, or it has too many or repeated headers."


class Connection(RequestHandler):
    """A connection with a time limit for headers, and with problem documents for errors.

    aiohttp's own class applies the limit for idle connections to incomplete headers, and sends errors as plain text.
    """

    __slots__ = ("_closed", "_first_segment", "_timer")

    def __init__(self, server: web.Server, **options: object) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type]
        self._timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Event | None = None
        self._first_segment = b""  # the first TCP segment of the last request

    def data_received(self, data: bytes) -> None:
        if self._timer is None and self.is_waiting_for_headers:
            self._first_segment = data
        requests = self.requests_started
        super().data_received(data)
        if self._timer is not None:
            if self.requests_started != requests:
                self._stop_timer()
        elif self.requests_started == requests and self.is_waiting_for_headers:
            self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._time_out)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        if self._closed:
            self._closed.set()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Returns a problem document. aiohttp's message would quote malformed HTTP, which may contain a token."""
        if status != HTTPStatus.BAD_REQUEST:
            super().handle_error(request, status, exc, message)  # this logs the error
            response = Problem("internal-error").response()
            response.headers.merge(PUBLIC_HEADERS)
            response.force_close()
            return response
        problem = self._unknown_method(message or "")
        self.logger.info("refused %s", "an unknown method" if problem else "malformed HTTP")
        respond_with_http_1_1(request)
        self.close()  # aiohttp ignores further data
        return LastResponse(self, (problem or Problem("malformed-request", MALFORMED)).response())

    def _unknown_method(self, message: str) -> Problem | None:
        """The problem if the parser doesn't know the method. It names the method if this is a short word.

        A token that is not at the start of the segment is not named: it may be the end of a method.
        """
        match = UNKNOWN_METHOD.search(message)
        if not match or not (match["target"] or self._first_segment.endswith(match["method"].encode())):
            return None
        method = match["method"]
        is_named = re.fullmatch("[A-Za-z]{1,20}", method) and self._first_segment.startswith(f"{method} ".encode())
        subject = f"the method {method}" if is_named else "this method"
        detail = f"The service doesn't know {subject}; methods are written in capitals, like PATCH."
        return Problem("method-not-implemented", detail)

    async def wait_closed(self) -> None:
        """Half-closes the connection. Returns when the client has closed it, or after CLOSING_SECONDS.

        A client that still sends data would get a reset otherwise, and could lose the response (RFC 9112, section 9.6).
        """
        if self.transport is None or self.transport.is_closing():
            return
        self._closed = asyncio.Event()
        self.transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._closed.wait()

    def _time_out(self) -> None:
        self.logger.info("refused a request whose headers took too long")
        if self.transport is not None:
            self.transport.write(_to_bytes(Problem("request-timeout").response()))
        self.force_close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class LastResponse(web.Response):
    """The response to a parser error. The connection stays open until the client closes it, or for CLOSING_SECONDS."""

    def __init__(self, connection: Connection, response: web.Response) -> None:
        super().__init__(status=response.status, body=response.body, headers=response.headers)
        self.headers.merge(PUBLIC_HEADERS)
        self.force_close()
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        await self._connection.wait_closed()


def _to_bytes(response: web.Response) -> bytes:
    """The bytes of a response, for a connection that has received no complete request yet."""
    body = cast("bytes", response.body)
    response.headers[hdrs.CONTENT_LENGTH] = str(len(body))
    response.headers[hdrs.CONNECTION] = "close"
    response.headers.merge(PUBLIC_HEADERS)
    status = HTTPStatus(response.status)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
