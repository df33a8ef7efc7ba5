"""Routes: the class of the declarations in app.py, and the table that finds the route of a request."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from todo_service.http.parameters import HeadersSchema, NoQuerySchema
from todo_service.http.schemas import RequestSchema

API_PREFIX = "/api/"
SAFE_METHODS = (hdrs.METH_GET, hdrs.METH_HEAD)
NO_QUERY = NoQuerySchema()
NO_CONDITIONS = HeadersSchema()


@dataclass(frozen=True)
class Route:
    """The declaration of a route, for the middlewares and the API's description.

    `public` routes need no token, and their requests are not validated. `body`, `query` and `headers` are the schemas
    of the values that the handler reads. `problems` are the names of the problems that the handler itself raises.
    """

    method: str
    path: str
    handler: Handler
    public: bool = False
    body: RequestSchema | None = None
    query: RequestSchema = NO_QUERY
    headers: HeadersSchema | None = None
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.public and not self.path.startswith(API_PREFIX):
            raise ValueError(f"{self.path} must be public, or begin with {API_PREFIX} like all paths that need a token")
        if self.public and (self.body or self.headers or self.query is not NO_QUERY or self.has_task_id):
            raise ValueError(f"{self.path} is public, so its parameters and body would not be validated")
        if self.headers is None and not (self.public or self.is_safe):
            object.__setattr__(self, "headers", NO_CONDITIONS)  # refuses conditional headers that no handler reads

    @property
    def is_safe(self) -> bool:
        """Whether the method is safe: it changes nothing (RFC 9110, section 9.2.1)."""
        return self.method in SAFE_METHODS

    @cached_property
    def has_task_id(self) -> bool:
        """Whether the path names a task."""
        return "{task_id" in self.path

    def all_problems(self) -> Iterator[str]:
        """The names of the problems that a response may have: from the handler, the middlewares or the database."""
        yield from self.problems
        yield "internal-error"
        if self.public:
            return
        yield from ("unauthorized", "invalid-query", "unavailable")
        if not self.is_safe:
            yield "outcome-unknown"
        if self.headers:
            yield "invalid-header"
        if self.body:
            yield from ("malformed-json", "invalid-body", "request-timeout", "body-too-large", "unsupported-media-type")
        if self.has_task_id:
            yield "task-not-found"
        if self.headers and "If-Match" in self.headers.declared:
            yield "precondition-failed"


class RouteTable:
    """The routes of an application. The middlewares look up the route of each request here."""

    def __init__(self) -> None:
        self._declared: dict[web.AbstractRoute, Route] = {}

    def add(self, app: web.Application, routes: Iterable[Route]) -> None:
        """Adds routes to the application. Each GET route also serves HEAD."""
        for route in routes:
            resource = app.router.add_resource(route.path)
            methods = SAFE_METHODS if route.method == hdrs.METH_GET else (route.method,)
            self._declared |= {resource.add_route(method, route.handler): route for method in methods}

    def find(self, request: web.Request) -> Route | None:
        """The declared route of a request, or None if no route has its path and method."""
        return self._declared.get(request.match_info.route)


ROUTES = web.AppKey("routes", RouteTable)


def is_api(request: web.Request) -> bool:
    """Whether the path of a request belongs to the API, even if no route has this path."""
    return f"{request.path}/".startswith(API_PREFIX)
