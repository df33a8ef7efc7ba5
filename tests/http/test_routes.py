"""Routes: a declaration defines whether a route is public. An undeclared route needs a token."""

import re
from dataclasses import replace
from typing import get_type_hints

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from tests.support.api import Client, problem_of
from todo_service.app import API, DOCS, SUPPORT, WITHOUT_DOCS, create_app
from todo_service.http.fields import Ignored
from todo_service.http.parameters import ListQuerySchema
from todo_service.http.routes import ROUTES as TABLE
from todo_service.http.routes import Route
from todo_service.http.schemas import NewTask, NewTaskSchema, RequestSchema, TaskPatch, TaskPatchSchema
from todo_service.problems import TYPES
from todo_service.settings import Settings

pytestmark = pytest.mark.database

ROUTES = (*API, *SUPPORT, *DOCS, *WITHOUT_DOCS)


async def respond(_request: web.Request) -> web.Response:
    return web.Response(text="answered")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_declares_known_problem_types(route: Route) -> None:
    assert set(route.all_problems()) <= TYPES.keys()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_a_route_needs_a_token_unless_it_is_public(client: Client, route: Route) -> None:
    response = await client.request(route.method, re.sub(r"{task_id:[^}]*}", "x", route.path))
    assert (response.status == 401) == (not route.public)


async def test_a_new_public_route_needs_no_token_and_no_validation(
    aiohttp_client: AiohttpClient, settings: Settings
) -> None:
    app = create_app(settings)
    app[TABLE].add(
        app,
        [
            Route("GET", "/status", respond, public=True),
            Route("GET", "/api/public", respond, public=True),
            Route("GET", "/api/private", respond, query=ListQuerySchema()),
        ],
    )
    client: Client = await aiohttp_client(app)
    for path in ("/status?limit=x", "/api/public"):
        for method in ("GET", "HEAD"):
            assert (await client.request(method, path)).status == 200
    await problem_of(await client.get("/api/private?limit=x"), 401, "unauthorized")
    await problem_of(await client.post("/status"), 405, "method-not-allowed")
    await problem_of(await client.post("/api/public"), 401, "unauthorized")


async def test_a_route_that_is_not_declared_needs_a_token(aiohttp_client: AiohttpClient, settings: Settings) -> None:
    app = create_app(settings)
    app.router.add_get("/undeclared", respond)
    client: Client = await aiohttp_client(app)
    await problem_of(await client.get("/undeclared"), 401, "unauthorized")


def test_a_route_outside_the_api_must_be_public() -> None:
    with pytest.raises(ValueError, match="/internal must be public, or begin with /api/"):
        Route("GET", "/internal", respond)


def test_a_public_route_cannot_declare_schemas() -> None:
    with pytest.raises(ValueError, match="/api/x is public, so its parameters and body would not be validated"):
        Route("POST", "/api/x", respond, public=True, body=NewTaskSchema())


@pytest.mark.parametrize("docs", ["on", "off"])
def test_every_route_of_the_application_is_declared(settings: Settings, docs: str) -> None:
    app = create_app(replace(settings, docs=docs))
    declared = app[TABLE]._declared
    assert set(app.router.routes()) == declared.keys()
    assert set(declared.values()) == {*API, *SUPPORT, *(DOCS if docs == "on" else WITHOUT_DOCS)}


@pytest.mark.parametrize(("schema", "loaded"), [(NewTaskSchema, NewTask), (TaskPatchSchema, TaskPatch)])
def test_the_type_of_a_loaded_body_has_the_members_of_its_schema(schema: type[RequestSchema], loaded: type) -> None:
    members = {name for name, field in schema().fields.items() if not isinstance(field, Ignored)}
    assert members == get_type_hints(loaded).keys()
