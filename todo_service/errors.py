"""Problem documents (RFC 9457): every refusal is raised as a Problem, and becomes a response in one place, here."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from todo_service.problem_types import TYPES

log = logging.getLogger(__name__)

RETRY_AFTER = MappingProxyType({"Retry-After": "1"})
"""Seconds after which what is unavailable may well be back."""


class Problem(Exception):  # noqa: N818 - the RFC's word
    """A request that can't be served.

    `name` is one of TYPES, `detail` one sentence for humans (by default what all of this type say), `errors` the
    messages for each field.
    """

    def __init__(
        self,
        name: str,
        detail: str = "",
        *,
        errors: Mapping[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.detail = detail or TYPES[name].detail
        super().__init__(self.detail)
        self.errors = errors
        self.headers = headers

    def response(self) -> web.Response:
        """The answer: a problem document."""
        kind = TYPES[self.name]
        return web.Response(
            status=kind.status,
            body=json.dumps(kind.document(self.detail, self.errors)).encode(),
            content_type="application/problem+json",
            headers=self.headers,
        )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns everything that a handler or another middleware raises into a problem document."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as exception:
        return _from_http_exception(request, exception).response()
    except ConnectionResetError:  # the client left while its body was being read: nobody will see this answer
        return Problem("malformed-request", "The connection was closed before the body was complete.").response()
    except Exception:
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return Problem("internal-error").response()


def _from_http_exception(request: web.Request, exception: web.HTTPException) -> Problem:
    match exception:
        case web.HTTPNotFound():
            return Problem("route-not-found")
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted(exception.allowed_methods))
            detail = f"{request.method} is not possible here; possible are {allow}."
            return Problem("method-not-allowed", detail, headers={hdrs.ALLOW: allow})
        case web.HTTPRequestEntityTooLarge():
            return Problem("body-too-large")
        case _:
            phrase = HTTPStatus(exception.status).phrase
            return Problem("malformed-request", f"The request could not be read: {phrase}.")
