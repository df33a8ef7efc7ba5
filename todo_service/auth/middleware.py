"""The middleware that attaches the `user_id` of a bearer token (RFC 6750) to each request that needs one."""

from collections.abc import AsyncIterator, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from todo_service.auth.tokens import REALM, Verifier, invalid_token
from todo_service.problems import Problem
from todo_service.settings import Settings

USER_ID = web.RequestKey("user_id", str)
VERIFIER = web.AppKey("verifier", Verifier)

PUBLIC = frozenset({"/", "/docs", "/health", "/health/ready", "/metrics", "/openapi.json", "/problems"})
PUBLIC_PREFIX = "/docs/static/"


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Sets `request[USER_ID]` on all but public and unknown paths; raises Problem if there is no good token."""
    if _needs_token(request):
        verifier, token = request.app[VERIFIER], _bearer_token(request)
        request[USER_ID] = verifier.recall(token) or await verifier.user_id(token)
    return await handler(request)


def is_api(request: web.Request) -> bool:
    """Whether the path is the API's, there or not."""
    return f"{request.path}/".startswith("/api/")


def _needs_token(request: web.Request) -> bool:
    if is_api(request):
        return True  # for unknown routes and wrong methods too: strangers don't learn what there is
    if request.path in PUBLIC or request.path.startswith(PUBLIC_PREFIX):
        return False
    return not isinstance(request.match_info.http_exception, web.HTTPNotFound)


def _bearer_token(request: web.Request) -> str:
    values = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(values) > 1:
        raise invalid_token("The request has more than one Authorization header; it must have exactly one.")
    scheme, _, token = values[0].partition(" ") if values else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        detail = "The request has no token; send one in the header `Authorization: Bearer <token>`."
        raise Problem("unauthorized", detail, headers={hdrs.WWW_AUTHENTICATE: REALM})  # RFC 6750, 3.1: no error code
    return token.lstrip(" ")


def verifier_context(settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    """The cleanup context that makes `app[VERIFIER]`."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        app[VERIFIER] = verifier = Verifier(settings)
        yield
        await verifier.close()

    return context
