"""The API's description (OpenAPI 3.1), made from the routes, their schemas, and the decorators of their handlers."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from aiohttp import hdrs
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema
from marshmallow.fields import Field

from todo_service import __version__
from todo_service.http.media_types import MEDIA_TYPES
from todo_service.http.parameters import EXAMPLE_CURSOR, TaskPathSchema
from todo_service.http.routes import Route
from todo_service.http.schemas import EXAMPLE_ID, ProblemSchema, example_of
from todo_service.library_internals import declared_by
from todo_service.problems import PAGE, TYPES

TITLE = "todo-service"
ABOUT = f"""\
A to-do list for each user. Requests to `/api/` need a JSON Web Token in `Authorization: Bearer <token>`. They can read
and change only the tasks of the token's user.

Each error is a problem document (RFC 9457), whose `detail` is a sentence for humans. [{PAGE}]({PAGE[1:]}) explains each
`type`.

Tasks and lists have an `ETag`. With `If-Match`, a change is refused if the task has changed since you read it. With an
`Idempotency-Key`, a repeated request creates no second task. Each path that supports `GET` also supports `HEAD`.
"""

TAGS = {
    "tasks": "Single tasks, lists of tasks, and the changes since your last request.",
    "me": "All your data: export and deletion.",
    "health": "Health checks for platforms. They need no token.",
}

BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A JSON Web Token without the word Bearer. `todo-service token` prints one. `sub` is the user's id.",
}


def _header(description: str, example: str, *, required: bool = True, **schema: object) -> dict[str, Any]:
    return {
        "description": description,
        "required": required,
        "schema": {"type": "string", **schema, "examples": [example]},
    }


HEADERS = {
    "ETag": _header("The current tag of the task or list, for `If-Match` and `If-None-Match`.", '"7"'),
    "Link": _header(
        'The address of the next page, if there is one (RFC 8288): `rel="next"`. Relative to the URL of the request.',
        f'<?limit=50&cursor={EXAMPLE_CURSOR}>; rel="next"',
        required=False,
    ),
    "Location": _header(
        "The address of the task, relative to the URL of the request.", f"tasks/{EXAMPLE_ID}", format="uri-reference"
    ),
    "Idempotency-Replayed": _header("Present if an earlier request created the task.", "true", enum=["true"]),
    "WWW-Authenticate": _header(
        "The error in the token (RFC 6750).",
        'Bearer realm="todo-service", error="invalid_token", error_description="The token has expired; get a new one."',
    ),
    "Accept-Patch": _header("The supported media types of the body (RFC 5789).", ", ".join(MEDIA_TYPES)),
    "Retry-After": {
        "description": "For `unavailable`: the seconds to wait before you repeat the request.",
        "required": False,
        "schema": {"type": "integer", "minimum": 0, "examples": [1]},
    },
}
"""The response headers that clients use."""


class Converter(OpenAPIConverter):
    """apispec's converter, which also copies the first line of a schema's docstring to the description."""

    def schema2jsonschema(self, schema: Any) -> dict[str, Any]:
        converted = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        return {**converted, "description": (type(schema).__doc__ or "").split("\n")[0]}


class Plugin(MarshmallowPlugin):
    """apispec's plugin, with this converter."""

    Converter = Converter


def describe(routes: Iterable[Route]) -> bytes:
    """The description of these routes as JSON."""
    plugin = Plugin()
    spec = APISpec(
        title=TITLE,
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": ABOUT, "license": {"name": "MIT", "identifier": "MIT"}, "contact": {"name": TITLE}},
        servers=[{"url": ".", "description": "The service that serves this description."}],
        security=[{"bearer": []}],
        tags=[{"name": name, "description": description} for name, description in TAGS.items()],
    )
    converter: OpenAPIConverter = plugin.converter  # type: ignore[assignment]
    for function in (_openapi_schema, _without_default_null):
        converter.add_attribute_function(function)  # type: ignore[no-untyped-call]
    spec.components.security_scheme("bearer", BEARER)
    operation_ids: set[str] = set()
    for route in routes:
        operation = _operation(converter, route, operation_ids)
        spec.path(path=re.sub(r"{(\w+):[^}]*}", r"{\1}", route.path), operations={route.method.lower(): operation})
    for name, header in HEADERS.items():
        spec.components.header(name, header)
    answered = {name for route in routes for name in route.all_problems()}
    for name, kind in TYPES.items():
        if name in answered:
            example = {"summary": kind.title, "description": kind.meaning, "value": kind.example_document()}
            spec.components.example(name, example)
    return json.dumps(spec.to_dict(), indent=2).encode() + b"\n"


def _openapi_schema(_converter: OpenAPIConverter, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_schema` of a field, unless its validators have given a pattern or an enum."""
    return {} if {"pattern", "enum"} & ret.keys() else dict(getattr(field, "openapi_schema", {}))


def _without_default_null(_converter: OpenAPIConverter, _field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Removes a default of null. The member may be absent, but with a default, generators expect it to be present."""
    if "default" in ret and ret["default"] is None:
        del ret["default"]
    return {}  # apispec adds the returned keywords to `ret`


def _operation(converter: OpenAPIConverter, route: Route, operation_ids: set[str]) -> dict[str, Any]:
    """A route as an operation. If two routes have the same handler, the second operationId ends with the method."""
    declared = declared_by(route.handler)
    operation_id = route.handler.__name__
    if operation_id in operation_ids:
        operation_id = f"{operation_id}_by_{route.method.lower()}"
    operation_ids.add(operation_id)
    operation: dict[str, Any] = {
        "operationId": operation_id,
        **{name: declared[name] for name in ("tags", "summary", "description")},
        **({"security": []} if route.public else {}),
        "parameters": [
            _without_null(parameter)
            for location, schema in _parameters(route)
            for parameter in converter.schema2parameters(schema, location=location)
        ],
        "responses": dict(sorted([*_answers(declared), *_problems(route)], key=itemgetter(0))),
    }
    if route.body:
        media_types = MEDIA_TYPES if route.method == hdrs.METH_PATCH else MEDIA_TYPES[:1]
        content = {media_type: {"schema": route.body, "example": example_of(route.body)} for media_type in media_types}
        operation["requestBody"] = {"required": not route.body.optional_body, "content": content}
    return operation


def _parameters(route: Route) -> Iterator[tuple[str, Schema]]:
    """The schemas of the path, the query and the headers, each with apispec's name for this location."""
    if route.has_task_id:
        yield "match_info", TaskPathSchema()
    yield "querystring", route.query
    if route.headers:
        yield "headers", route.headers


def _without_null(parameter: dict[str, Any]) -> dict[str, Any]:
    """The parameter without the type null, which marshmallow adds to a field whose default is None."""
    kind = parameter["schema"]["type"]
    return {**parameter, "schema": {**parameter["schema"], "type": kind if isinstance(kind, str) else kind[0]}}


def _references(components: str, names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/{components}/{name}"} for name in names}


def _answers(declared: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    (media_type,) = declared["produces"]
    for status, answer in declared["responses"].items():
        response = {"description": answer["description"]}
        if "schema" in answer:
            response["content"] = {media_type: {"schema": answer["schema"]}}
        if names := declared.get("response_headers", {}).get(int(status)):
            response["headers"] = _references("headers", names)
        yield str(status), response


def _problems(route: Route) -> Iterator[tuple[str, dict[str, Any]]]:
    names = sorted(route.all_problems(), key=lambda name: TYPES[name].status)
    for status, group in groupby(names, key=lambda name: TYPES[name].status):
        kinds = {name: TYPES[name] for name in group}
        headers = {header for kind in kinds.values() for header in kind.headers}
        response: dict[str, Any] = {
            "description": " / ".join(kind.title for kind in kinds.values()),
            "content": {
                "application/problem+json": {
                    "schema": ProblemSchema,
                    "examples": _references("examples", kinds),
                }
            },
        }
        if route.method != hdrs.METH_PATCH:
            headers.discard("Accept-Patch")
        if headers:
            response["headers"] = _references("headers", (name for name in HEADERS if name in headers))
        yield str(status), response
