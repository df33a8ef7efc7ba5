"""The validate middleware: loads body, query, headers and path with the schemas that the handler declares."""

import asyncio
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from marshmallow import Schema, ValidationError
from marshmallow.fields import List
from multidict import CIMultiDictProxy
from yarl import URL

from todo_service import strict_json
from todo_service.auth import USER_ID
from todo_service.http.parameters import HeadersSchema, NoQuerySchema
from todo_service.http.schemas import RequestSchema
from todo_service.problems import Problem

BODY = web.RequestKey("body", dict[str, Any])
QUERY = web.RequestKey("query", Mapping[str, Any])
HEADERS = web.RequestKey("headers", Mapping[str, Any])
TASK_ID = web.RequestKey("task_id", str)

MEDIA_TYPES = ("application/json", "application/merge-patch+json")
BODY_SECONDS = 20.0  # for what has not come with the head
MAX_ERRORS = 20
KNOWN_QUERY_LENGTH = 100  # longer ones are not worth the memory
UUID = re.compile("[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
NO_QUERY = NoQuerySchema()
NO_CONDITIONS = HeadersSchema()
SAFE_METHODS = (hdrs.METH_GET, hdrs.METH_HEAD)


@web.middleware
async def validate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Puts what the schemas loaded into request[BODY], [QUERY], [HEADERS] and [TASK_ID]; refuses what they refuse.

    Public routes declare nothing and are left alone, so that a platform may call /health as it likes.
    """
    if USER_ID not in request or request.match_info.http_exception is not None:
        return await handler(request)
    declared = schemas_of(request.match_info.handler)
    if "json" in declared:
        request[BODY] = await _load_body(request, declared["json"])
    request[QUERY] = _load_query(declared.get("querystring", NO_QUERY), request.rel_url.raw_query_string)
    if "headers" in declared or request.method not in SAFE_METHODS:
        request[HEADERS] = _load_headers(declared.get("headers", NO_CONDITIONS), request.headers)
    if "match_info" in declared:
        request[TASK_ID] = _task_id(request)
    return await handler(request)


@cache
def schemas_of(handler: Handler) -> dict[str, Any]:
    """The schema for each part of a request: `json`, `querystring`, `headers`, `match_info`."""
    return {each["location"]: each["schema"] for each in getattr(handler, "__schemas__", ())}


async def _load_body(request: web.Request, schema: RequestSchema) -> dict[str, Any]:
    """Without a body, what an optional one gives: an empty dict."""
    if schema.optional_body and not await _read_body(request):
        return {}
    if request.content_type not in MEDIA_TYPES or (request.charset or "utf-8").lower() != "utf-8":
        _refuse_media_type(request, f"The request body must be {MEDIA_TYPES[0]} in UTF-8.")
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


def _load_query(schema: Schema, raw_query_string: str) -> Mapping[str, Any]:
    load = _load_known_query if len(raw_query_string) < KNOWN_QUERY_LENGTH else _load_query_string
    return load(schema, raw_query_string)


def _load_query_string(schema: Schema, raw_query_string: str) -> Mapping[str, Any]:
    query = URL.build(query_string=raw_query_string, encoded=True).query
    _check_encoding(raw_query_string, query)
    lists = {name for name, field in schema.fields.items() if isinstance(field, List)}
    repeated = {name: ["Must be given only once."] for name in query.keys() - lists if len(query.getall(name)) > 1}
    if repeated:
        _refuse("invalid-query", repeated)
    values = {name: query.getall(name) if name in lists else query[name] for name in query}
    return MappingProxyType(_load(schema, values, "invalid-query"))


def _check_encoding(raw_query_string: str, query: Mapping[str, str]) -> None:
    """Refuses what is no UTF-8: yarl has replaced it, and would find what nobody asked for."""
    try:
        unquote_to_bytes(raw_query_string).decode()
    except UnicodeError:
        replaced = [name for name, value in query.items() if "\ufffd" in name + value]
        _refuse("invalid-query", {name: ["Must be percent-encoded UTF-8."] for name in replaced or query})


_load_known_query = lru_cache(1000)(_load_query_string)  # clients send the same few again and again


def _load_headers(schema: HeadersSchema, headers: CIMultiDictProxy[str]) -> Mapping[str, Any]:
    """What `schema.load` would give: it takes 15 us, more than the rest of an answer that is not modified."""
    given = [name for name in schema.names if name in headers]
    if not given:
        return schema.absent
    loaded, errors = dict(schema.absent), {}
    for name in given:
        try:
            field = schema.declared[name]
            value = ", ".join(headers.getall(name))  # several lines are one list (RFC 9110, section 5.3)
            loaded[str(field.attribute or field.name)] = field.deserialize(value)
        except KeyError:
            errors[str(name)] = [schema.error_messages["unknown"]]
        except ValidationError as error:
            errors[str(name)] = [str(message) for message in error.messages]
    if errors:
        _refuse("invalid-header", errors)
    return loaded


def _task_id(request: web.Request) -> str:
    task_id = request.match_info["task_id"]
    if not UUID.fullmatch(task_id):
        raise task_not_found()
    return task_id


def task_not_found() -> Problem:
    """What every endpoint of a task says of one that isn't there, or is another user's, or has an id that is none."""
    return Problem("task-not-found")


def _load(schema: Schema, document: dict[str, Any], problem: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(document)
    except ValidationError as error:
        _refuse(problem, error.messages_dict)
    return loaded


def _refuse(problem: str, errors: dict[str, list[str]]) -> NoReturn:
    """One sentence of all the messages: `title is required; priority must be one of low, medium, high.`"""
    some = dict(islice(((name[:100], messages) for name, messages in errors.items()), MAX_ERRORS))
    clauses = [f"{name} {messages[0][0].lower()}{messages[0][1:].rstrip('.')}" for name, messages in some.items()]
    raise Problem(problem, "; ".join(clauses) + ".", errors=some)
