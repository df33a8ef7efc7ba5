"""Private names of libraries. Each docstring says what the public names of the library lack.

tests/test_library_internals.py fails if a release changes one of these names. setup.cfg allows only versions that
were tested.
"""

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import asyncpg
from aiohttp import HttpVersion11, web, web_urldispatcher
from aiohttp.typedefs import Handler
from prometheus_client import Histogram

# ruff: noqa: SLF001 - this is the module for private names

_handle_expectation = web_urldispatcher._default_expect_handler


def ignore_unknown_expectations() -> None:
    """Makes aiohttp ignore an unknown `Expect`, in this whole process (RFC 9110, section 10.1.1).

    A route's `expect_handler=` does this, too. But requests that get 404 or 405 have no route: aiohttp would answer 417
    before any middleware runs.
    """
    web_urldispatcher._default_expect_handler = _ignore_unknown


async def _ignore_unknown(request: web.Request) -> None:
    with suppress(web.HTTPExpectationFailed):
        await _handle_expectation(request)


def respond_with_http_1_1(request: web.BaseRequest) -> None:
    """Sets the response's version to HTTP/1.1. aiohttp would copy the request's version, even HTTP/2.0."""
    request._version = HttpVersion11


UNKNOWN_METHOD = re.compile(
    r"(?:Invalid|space after) method.*\n\n  b['\"](?P<method>[!#$%&*+.^_`|~0-9A-Za-z-]+)(?P<target> +(?:/|\*|https?:))?"
)
"""The parser's message about a method that it doesn't know, or about other octets in place of a method.

It quotes the line, which begins with the method (a token: RFC 9110, section 5.6.2) and the target. aiohttp's exception
has no attributes for them.
"""


class RequestHandler(web.RequestHandler):
    """aiohttp's HTTP connection, with the state that a time limit for headers needs. aiohttp has no such limit."""

    __slots__ = ()

    @property
    def requests_started(self) -> int:
        """The number of requests on this connection whose headers were complete."""
        return self._request_count

    @property
    def is_waiting_for_headers(self) -> bool:
        """Whether the connection handles no request now. If so, the next data belongs to a new request."""
        return self._waiter is not None


class AppRunner(web.AppRunner):
    """aiohttp's runner with connections of the class `connection_class`. aiohttp has no parameter for this class."""

    connection_class: type[web.RequestHandler] = web.RequestHandler

    async def _make_server(self) -> web.Server:
        connection_class = self.connection_class

        class Server(web.Server):
            def __call__(self) -> web.RequestHandler:
                return connection_class(self, loop=self._loop, **self._kwargs)

        server = await super()._make_server()
        server.__class__ = Server
        return server


def declared_by(handler: Handler) -> dict[str, Any]:
    """The declarations that aiohttp-apispec's decorators add to a handler. The library supports only OpenAPI 2.0."""
    return cast("dict[str, Any]", getattr(handler, "__apispec__"))  # noqa: B009 - typeshed has no such attribute


def socket_of(connection: asyncpg.Connection) -> socket.socket:
    """The socket of a connection to PostgreSQL. asyncpg has no parameters for TCP options."""
    transport = connection._transport  # type: ignore[attr-defined]
    return cast("socket.socket", transport.get_extra_info("socket"))


class BulkHistogram(Histogram):
    """A histogram that takes many observations at once. prometheus-client takes each one separately, in 4 us."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Adds a number of observations to each bucket. The last bucket has no upper bound. `total` is their sum."""
        for bucket, number in zip(self._buckets, counts, strict=True):
            if number:
                bucket.inc(number)
        self._sum.inc(total)
