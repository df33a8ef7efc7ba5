"""What a connection brings before it is a request: what is no HTTP is told so, and what comes too slowly is cut off."""

import asyncio
from http import HTTPStatus
from typing import cast

from aiohttp import web

from todo_service.http import SECURITY_HEADERS
from todo_service.problems import Problem

HEAD_SECONDS = 15.0
"""How long the head of a request may take, from its first byte on. Bodies have a limit of their own: see validation.

One whose first bytes came in the same segment as a whole request counts from its next segment on: the parser doesn't
say what it has left. Without a next one its connection is idle, and closed as such.
"""


class Connection(web.RequestHandler):
    """aiohttp's, which waits for the rest of a head as long as for the next request, and refuses in plain text."""

    __slots__ = ("_limit",)

    def __init__(self, server: web.Server, **options: object) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type]
        self._limit: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        requests = self._request_count
        super().data_received(data)
        if self._limit is not None:
            if self._request_count != requests:
                self._forget_limit()
        elif self._request_count == requests and self._waiter is not None:  # part of a head, and not of a body
            self._limit = self._loop.call_later(HEAD_SECONDS, self._refuse_slow_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_limit()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A problem document. The message for what is no HTTP would quote what was sent, which may be a token."""
        if status == HTTPStatus.BAD_REQUEST:
            self.logger.info("refused what is not valid HTTP")
            problem = Problem("malformed-request", "This is not valid HTTP/1.1, or it has too many headers.")
        else:
            super().handle_error(request, status, exc, message)  # which logs it
            problem = Problem("internal-error")
        response = problem.response()
        response.headers.merge(SECURITY_HEADERS)
        response.force_close()
        return response

    def _refuse_slow_head(self) -> None:
        self.logger.info("refused a request whose head came too slowly")
        if self.transport is not None:
            self.transport.write(_bytes(Problem("request-timeout").response()))
        self.force_close()

    def _forget_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


class Server(web.Server):
    """A server of such connections."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)


def _bytes(response: web.Response) -> bytes:
    """The response to what never became a request."""
    body = cast("bytes", response.body)
    response.headers["Content-Length"] = str(len(body))
    response.headers["Connection"] = "close"
    response.headers.merge(SECURITY_HEADERS)
    response.headers["Server"] = "todo-service"
    status = HTTPStatus(response.status)
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
