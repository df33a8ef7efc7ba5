"""The description at /openapi.json, and the page at /docs that shows it."""

import re
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient

from tests.api import Client, problem_of
from todo_service.app import create_app
from todo_service.auth import PUBLIC
from todo_service.settings import Settings

OPERATIONS = {
    "/api/tasks": {"get", "post"},
    "/api/tasks/changes": {"get"},
    "/api/tasks/{task_id}": {"get", "put", "patch", "delete"},
    "/api/tasks/{task_id}/complete": {"patch"},
    "/api/export": {"get"},
    "/api/me": {"delete"},
    "/health": {"get"},
    "/health/ready": {"get"},
}


async def description_of(client: Client) -> dict[str, Any]:
    response = await client.get("/openapi.json")
    assert (response.status, response.content_type) == (200, "application/json")
    document: dict[str, Any] = await response.json()
    return document


async def test_every_operation_is_described(client: Client) -> None:
    document = await description_of(client)
    assert document["swagger"] == "2.0"
    assert {path: set(operations) for path, operations in document["paths"].items()} == OPERATIONS
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["responses"]
            names = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert names == set(re.findall(r"{(\w+)}", path))


async def test_public_routes_are_described_as_such(client: Client) -> None:
    document = await description_of(client)
    assert document["security"] == [{"bearer": []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path in PUBLIC)


async def test_what_one_handler_serves_by_two_methods_is_described_for_both(client: Client) -> None:
    operations = (await description_of(client))["paths"]["/api/tasks/{task_id}"]
    assert operations["put"] == operations["patch"]
    assert {parameter["in"] for parameter in operations["put"]["parameters"]} == {"path", "header", "body"}


async def test_the_list_is_described_with_its_parameters(client: Client) -> None:
    parameters = (await description_of(client))["paths"]["/api/tasks"]["get"]["parameters"]
    described = {parameter["name"]: parameter for parameter in parameters if parameter["in"] == "query"}
    assert list(described) == [
        *("status", "sort", "order", "limit", "priority", "due_before", "due_after", "q", "cursor"),
    ]
    assert described["priority"]["collectionFormat"] == "multi"
    assert described["priority"]["items"]["enum"] == ["low", "medium", "high"]
    assert described["status"]["enum"] == ["all", "pending", "completed"]
    assert (described["limit"]["minimum"], described["limit"]["maximum"], described["limit"]["default"]) == (
        1,
        1000,
        1000,
    )


@pytest.mark.parametrize(
    ("method", "path", "headers", "statuses"),
    [
        ("get", "/api/tasks", {"If-Match", "If-None-Match"}, {"200", "304", "400", "412"}),
        ("get", "/api/tasks/{task_id}", {"If-Match", "If-None-Match"}, {"200", "304", "400", "404", "412"}),
        ("post", "/api/tasks", {"Idempotency-Key"}, {"200", "201", "400", "410", "422"}),
        ("patch", "/api/tasks/{task_id}", {"If-Match"}, {"200", "400", "404", "412"}),
        ("patch", "/api/tasks/{task_id}/complete", {"If-Match"}, {"200", "400", "404", "412"}),
        ("delete", "/api/tasks/{task_id}", {"If-Match"}, {"204", "400", "404", "412"}),
        ("get", "/api/tasks/changes", set(), {"200", "400", "410"}),
    ],
)
async def test_conditions_are_described_with_what_comes_of_them(
    client: Client, method: str, path: str, headers: set[str], statuses: set[str]
) -> None:
    operation = (await description_of(client))["paths"][path][method]
    assert {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"} == headers
    assert set(operation["responses"]) == statuses


async def test_revisions_are_described_as_numbers_that_need_64_bits(client: Client) -> None:
    task = (await description_of(client))["definitions"]["Task"]
    assert task["properties"]["revision"] == {"type": "integer", "format": "int64"}


async def test_the_export_is_described_as_lines(client: Client) -> None:
    assert (await description_of(client))["paths"]["/api/export"]["get"]["produces"] == ["application/x-ndjson"]


async def test_every_application_has_the_same_description(
    client: Client, aiohttp_client: AiohttpClient, settings: Settings
) -> None:
    another = await aiohttp_client(create_app(settings))
    assert await description_of(another) == await description_of(client)


async def test_the_page_loads_all_that_it_needs_from_here(client: Client) -> None:
    response = await client.get("/docs")
    assert (response.status, response.content_type) == (200, "text/html")
    page = await response.text()
    assert "/openapi.json" in page
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 3
    for source in sources:
        assert source.startswith("/docs/static/")
        assert (await client.get(source)).status == 200


async def test_the_page_may_load_nothing_foreign(client: Client) -> None:
    policy = (await client.get("/docs")).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "http" not in policy


async def test_there_is_no_way_out_of_the_static_files(client: Client) -> None:
    names = [
        "",
        ".",
        "nothing",
        "index.html",
        "oauth2-redirect.html",
        "../../setup.cfg",
        "%2e%2e/%2e%2e/setup.cfg",
        "%2e%2e%2f__init__.py",
        "%00",
        "%ff",
        "a%" * 300,
    ]
    for name in names:
        await problem_of(await client.get(f"/docs/static/{name}"), 404, "route-not-found")


async def test_head_is_get_without_a_body(client: Client) -> None:
    for path in ("/openapi.json", "/docs", "/docs/static/swagger-ui.css"):
        head = await client.head(path)
        assert (head.status, await head.read()) == (200, b"")
