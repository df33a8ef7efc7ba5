"""The middleware that verifies bearer tokens (RFC 6750), and attaches their `user_id` to requests."""

from collections.abc import AsyncIterator, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from todo_service.auth.tokens import REALM, Verifier, invalid_token
from todo_service.http import Route, RouteTable, is_api
from todo_service.problems import Problem
from todo_service.settings import Settings

USER_ID = web.RequestKey("user_id", str)
VERIFIER = web.AppKey("verifier", Verifier)


def authenticate(routes: RouteTable) -> Middleware:
    """The middleware that sets `request[USER_ID]`, except on public routes. Without a valid token it raises Problem."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _needs_token(request, routes.find(request)):
            request[USER_ID] = await request.app[VERIFIER].verify(_bearer_token(request))
        return await handler(request)

    return middleware


def _needs_token(request: web.Request, route: Route | None) -> bool:
    """Whether a request needs a token. Unknown paths of the API need one, so that 404 doesn't reveal which paths exist.

    A route that app.py does not declare needs one, too.
    """
    if route is None:
        return is_api(request) or request.match_info.http_exception is None
    return not route.public


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
