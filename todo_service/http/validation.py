"""The middleware that loads body, query, headers and path of a request with the schemas of its route."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from marshmallow import Schema, ValidationError
from marshmallow.fields import List
from multidict import CIMultiDictProxy
from yarl import URL

from todo_service import strict_json
from todo_service.http.fields import UUID_PATTERN
from todo_service.http.media_types import MEDIA_TYPES, media_type_error
from todo_service.http.parameters import TASK_ID, HeadersSchema
from todo_service.http.routes import RouteTable
from todo_service.http.schemas import RequestSchema
from todo_service.problems import Problem

BODY_SECONDS = 20.0  # for the part of the body that did not arrive together with the headers
MAX_ERRORS = 20
MAX_CACHED_QUERY_LENGTH = 100  # longer queries are not worth the memory


def validate(routes: RouteTable) -> Middleware:
    """The middleware that sets `request[schema.key]` for each schema of a route, and `request[TASK_ID]`.

    It raises Problem for invalid requests. Public routes accept any query and headers, because platforms may add some
    when they call /health.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = routes.find(request)
        if route is None or route.public:
            return await handler(request)
        if route.body:
            request[route.body.key] = await _load_body(request, route.body)
        request[route.query.key] = _load_query(route.query, request.rel_url.raw_query_string)
        if route.headers:
            request[route.headers.key] = _load_headers(route.headers, request.headers)
        if route.has_task_id:
            request[TASK_ID] = _task_id(request)
        return await handler(request)

    return middleware


async def _load_body(request: web.Request, schema: RequestSchema) -> Any:
    """The value that the schema loads, or an empty dict if an optional body is missing."""
    if schema.optional_body and not await _read_body(request):
        return {}
    if detail := media_type_error(request.headers.get(hdrs.CONTENT_TYPE)):
        _refuse_media_type(request, detail)
    if any(coding.lower() != "identity" for coding in request.headers.getall(hdrs.CONTENT_ENCODING, ())):
        _refuse_media_type(request, "The request body must be sent without a Content-Encoding.")
    if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
        _refuse_media_type(request, "The request body must be sent without a Transfer-Encoding other than chunked.")
    try:
        document = strict_json.parse(await _read_body(request))
    except ValueError as error:
        raise Problem("malformed-json", f"The request body is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise Problem("invalid-body", 'The request body must be a JSON object, like {"title": "Buy milk"}.')
    return _load(schema, document, "invalid-body")


async def _read_body(request: web.Request) -> bytes:
    if request.content.is_eof():
        return await request.read()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise Problem("request-timeout", headers={hdrs.CONNECTION: "close"}) from None


def _refuse_media_type(request: web.Request, detail: str) -> NoReturn:
    headers = {"Accept-Patch": ", ".join(MEDIA_TYPES)} if request.method == hdrs.METH_PATCH else None
    raise Problem("unsupported-media-type", detail, headers=headers)


def _load_query(schema: RequestSchema, raw_query_string: str) -> Any:
    load = _load_cached_query if len(raw_query_string) < MAX_CACHED_QUERY_LENGTH else _load_query_string
    return load(schema, raw_query_string)


def _load_query_string(schema: RequestSchema, raw_query_string: str) -> Any:
    query = URL.build(query_string=raw_query_string, encoded=True).query
    _check_encoding(raw_query_string, query)
    lists = {name for name, field in schema.fields.items() if isinstance(field, List)}
    repeated = {name: ["Must be given only once."] for name in query.keys() - lists if len(query.getall(name)) > 1}
    if repeated:
        _refuse("invalid-query", repeated)
    values = {name: query.getall(name) if name in lists else query[name] for name in query}
    return _load(schema, values, "invalid-query")


def _check_encoding(raw_query_string: str, query: Mapping[str, str]) -> None:
    """Refuses invalid UTF-8. yarl replaces it with U+FFFD, so a search would look for another text."""
    try:
        unquote_to_bytes(raw_query_string).decode()
    except UnicodeError:
        replaced = [name for name, value in query.items() if "\ufffd" in name + value]
        _refuse("invalid-query", {name: ["Must be percent-encoded UTF-8."] for name in replaced or query})


_load_cached_query = lru_cache(1000)(_load_query_string)  # clients send the same few queries again and again


def _load_headers(schema: HeadersSchema, headers: CIMultiDictProxy[str]) -> Any:
    """Returns the same as `schema.load`. Without conditions, it takes 0.1 us instead of 4 us (5 % of a GET)."""
    sent = [name for name in schema.names if name in headers]
    if not sent:
        return schema.absent
    loaded, errors = {}, {}
    for name in sent:
        field = schema.declared.get(name)
        if field is None:
            errors[str(name)] = [schema.error_messages["unknown"]]
            continue
        try:
            value = ", ".join(headers.getall(name))  # several lines are one list (RFC 9110, section 5.3)
            loaded[str(field.attribute or field.name)] = field.deserialize(value)
        except ValidationError as error:
            errors[str(name)] = [str(message) for message in error.messages]
    if errors:
        _refuse("invalid-header", errors)
    return schema.values(**loaded)


def _task_id(request: web.Request) -> str:
    task_id = request.match_info["task_id"]
    if not UUID_PATTERN.fullmatch(task_id):
        raise task_not_found()
    return task_id


def task_not_found() -> Problem:
    """The Problem for a task that does not exist, that belongs to another user, or whose id is not a UUID."""
    return Problem("task-not-found")


def refuse_mismatches(members: Iterable[str]) -> NoReturn:
    """Raises the Problem for members of a body that differ from the task, although they never change."""
    _refuse("invalid-body", {name: ["Must not change: leave it out, or send it unchanged."] for name in members})


def _load(schema: Schema, document: dict[str, Any], problem: str) -> Any:
    try:
        return schema.load(document)
    except ValidationError as error:
        _refuse(problem, error.messages_dict)


def _refuse(problem: str, errors: dict[str, list[str]]) -> NoReturn:
    """Raises a Problem whose detail has all messages: `title is required; priority must be one of low, high.`"""
    some = dict(islice(((name[:100], messages) for name, messages in errors.items()), MAX_ERRORS))
    clauses = [f"{name} {messages[0][0].lower()}{messages[0][1:].rstrip('.')}" for name, messages in some.items()]
    raise Problem(problem, "; ".join(clauses) + ".", errors=some)
