"""Problem documents (RFC 9457), and the middleware that turns exceptions into them."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from todo_service.library_internals import respond_with_http_1_1
from todo_service.problems.types import TYPES

log = logging.getLogger(__name__)

RETRY_AFTER = MappingProxyType({"Retry-After": "1"})
"""For `unavailable`: the seconds until a client should repeat the request."""


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An error whose response is a problem document.

    `name` is one of TYPES. `detail` is one sentence for humans, by default the type's. `errors` has the messages for
    each field. `ends_connection` closes the connection, because the end of the request is unclear.
    """

    def __init__(
        self,
        name: str,
        detail: str = "",
        *,
        errors: Mapping[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        ends_connection: bool = False,
    ) -> None:
        self.name = name
        self.detail = detail or TYPES[name].detail
        super().__init__(self.detail)
        self.errors = errors
        self.headers = headers
        self.ends_connection = ends_connection

    def response(self) -> web.Response:
        """The problem document."""
        kind = TYPES[self.name]
        return web.Response(
            status=kind.status,
            body=json.dumps(kind.document(self.detail, self.errors)).encode(),
            content_type="application/problem+json",
            headers=self.headers,
        )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The middleware that turns the exceptions of handlers and of later middlewares into problem documents."""
    try:
        if request.version is not HttpVersion11:
            _check_version(request)
        return await handler(request)
    except Problem as problem:
        return _answer(request, problem)
    except web.HTTPException as exception:
        return _answer(request, _from_http_exception(request, exception))
    except ConnectionResetError:  # the client has disconnected, and won't see this response
        return Problem("malformed-request", "The connection was closed before the body was complete.").response()
    except Exception:
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return Problem("internal-error").response()


def _check_version(request: web.Request) -> None:
    """Refuses other versions than HTTP/1.0 and 1.1, and a Transfer-Encoding in HTTP/1.0 (RFC 9112, section 6.1).

    HTTP/1.0 has no chunks: a proxy that uses HTTP/1.0 would read chunks as another request.
    """
    if request.version not in (HttpVersion10, HttpVersion11):  # the parser accepts 0.9 and 2.0, too
        respond_with_http_1_1(request)
        raise Problem("malformed-request", "The request must use HTTP/1.1 or HTTP/1.0.", ends_connection=True)
    if request.version == HttpVersion10 and hdrs.TRANSFER_ENCODING in request.headers:
        raise Problem("malformed-request", "HTTP/1.0 has no Transfer-Encoding.", ends_connection=True)


def _answer(request: web.Request, problem: Problem) -> web.Response:
    response = problem.response()
    if problem.ends_connection or request.method == hdrs.METH_CONNECT:  # the next octets may not be HTTP
        response.force_close()
    return response


def _from_http_exception(request: web.Request, exception: web.HTTPException) -> Problem:
    match exception:
        case web.HTTPNotFound():
            return Problem("route-not-found")
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted(exception.allowed_methods))
            detail = f"{request.method} is not supported here; supported methods: {allow}."
            return Problem("method-not-allowed", detail, headers={hdrs.ALLOW: allow})
        case web.HTTPRequestEntityTooLarge():
            return Problem("body-too-large")
        case _:
            phrase = HTTPStatus(exception.status).phrase
            return Problem("malformed-request", f"The request could not be read: {phrase}.")
