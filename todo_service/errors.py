"""Problem documents (RFC 9457): every refusal is raised as a Problem, and becomes a response in one place, here."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

log = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024
"""How large a request body may be."""

RETRY_AFTER = MappingProxyType({"Retry-After": "1"})
"""Seconds after which what is unavailable may well be back."""

TYPES = {
    "malformed-request": (400, "Malformed request"),
    "malformed-json": (400, "Malformed JSON"),
    "invalid-body": (400, "Invalid body"),
    "invalid-query": (400, "Invalid query"),
    "invalid-header": (400, "Invalid header"),
    "unauthorized": (401, "Unauthorized"),
    "task-not-found": (404, "Task not found"),
    "route-not-found": (404, "Route not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "task-deleted": (410, "Task deleted"),
    "start-over": (410, "Start over"),
    "precondition-failed": (412, "Precondition failed"),
    "body-too-large": (413, "Body too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "idempotency-key-reused": (422, "Idempotency key reused"),
    "internal-error": (500, "Internal error"),
    "unavailable": (503, "Unavailable"),
    "outcome-unknown": (503, "Outcome unknown"),
}
"""The problem types: the status and the title of each."""


class Problem(Exception):  # noqa: N818 - the RFC's word
    """A request that can't be served.

    `name` is one of TYPES, `detail` one sentence for humans, `errors` the messages for each field.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        errors: Mapping[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.errors = errors
        self.headers = headers

    def response(self) -> web.Response:
        """The problem document: `type`, `title`, `status`, `detail`, and `errors` if there are any."""
        status, title = TYPES[self.name]
        document: dict[str, object] = {
            "type": f"/problems#{self.name}",
            "title": title,
            "status": status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = self.errors
        return web.Response(
            status=status,
            body=json.dumps(document).encode(),
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
        return Problem("internal-error", "Something went wrong in the service; it has been logged.").response()


def _from_http_exception(request: web.Request, exception: web.HTTPException) -> Problem:
    match exception:
        case web.HTTPNotFound():
            return Problem("route-not-found", "There is nothing at this address; see /docs for what there is.")
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted(exception.allowed_methods))
            detail = f"{request.method} is not possible here; possible are {allow}."
            return Problem("method-not-allowed", detail, headers={hdrs.ALLOW: allow})
        case web.HTTPRequestEntityTooLarge():
            return Problem("body-too-large", f"The request body must not be larger than {BODY_BYTES:,} bytes.")
        case _:
            phrase = HTTPStatus(exception.status).phrase
            return Problem("malformed-request", f"The request could not be read: {phrase}.")
