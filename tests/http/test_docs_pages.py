"""The HTML pages /docs (to try the API) and /problems, and their static files."""

import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from aiohttp import ClientSession, HttpVersion10
from pytest_aiohttp import AiohttpClient

from tests.support.api import Client, problem_of
from todo_service.app import create_app
from todo_service.problems import TYPES
from todo_service.settings import Settings

TOKEN = "the token of serve --embedded"
PAGES = ("/docs", "/problems")


async def client_with(aiohttp_client: AiohttpClient, settings: Settings, **values: Any) -> Client:
    return await aiohttp_client(create_app(replace(settings, **values)))


@pytest.mark.parametrize("page", PAGES)
async def test_pages_load_files_of_this_service_only(client: Client, page: str) -> None:
    response = await client.get(page)
    assert (response.status, response.content_type) == (200, "text/html")
    text = await response.text()
    sources = re.findall(r'(?:src|href)="(?!data:)([^"#]+)"', text)
    assert sources
    for source in sources:
        assert source.startswith("docs/static/") or source == "openapi.json", "relative, for proxies that add a path"
        assert (await client.get(f"/{source}")).status == 200


@pytest.mark.parametrize("page", PAGES)
async def test_pages_allow_no_other_origins_and_no_inline_scripts(client: Client, page: str) -> None:
    response = await client.get(page)
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    text = await response.text()
    assert re.search(r"<script[^>]*>[^<]", text) is None
    assert re.search(r"<style|\son\w+=|style=", text) is None


async def test_static_files_are_revalidated_by_their_etag(client: Client) -> None:
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "docs.js", "problems.css", "favicon-32x32.png"):
        first = await client.get(f"/docs/static/{name}")
        assert (first.status, first.headers["Cache-Control"]) == (200, "no-cache")
        again = await client.get(f"/docs/static/{name}", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status == 304


async def test_a_head_request_gets_no_body(client: Client) -> None:
    for path in ("/openapi.json", "/docs", "/problems", "/docs/static/swagger-ui.css"):
        head = await client.head(path)
        assert (head.status, await head.read()) == (200, b"")


async def test_the_root_redirects_to_the_docs_page(client: Client) -> None:
    response = await client.get("/", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (302, "docs")
    assert (await client.get("/")).url.path == "/docs"


async def token_in_page(client: Client, headers: Mapping[str, str]) -> str:
    response = await client.get("/docs", headers=headers)
    assert response.headers["Cache-Control"] == "no-store"
    (token,) = re.findall(r'data-token="([^"]*)"', await response.text())
    return unescape(token)


async def test_the_docs_page_of_a_deployed_service_has_no_token(client: Client) -> None:
    assert await token_in_page(client, {}) == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "[::1]:8080", "127.0.0.1:1"])
async def test_the_docs_page_has_the_token_for_loopback_hosts(
    aiohttp_client: AiohttpClient, settings: Settings, host: str
) -> None:
    client = await client_with(aiohttp_client, settings, docs_token=TOKEN)
    assert await token_in_page(client, {"Host": host}) == TOKEN


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:8080"},
        {"Host": "192.0.2.1"},
        {"Host": ""},
        {"Forwarded": "for=192.0.2.1"},
        {"Origin": "https://app.example.com"},
        {"Via": "1.1 proxy.example"},
        {"X-Forwarded-For": "192.0.2.1"},
        {"x-forwarded-for": "127.0.0.1"},
        {"X-Forwarded-Host": "todo.example"},
        {"X-Forwarded-Proto": "https"},
        {"X-Real-IP": "192.0.2.1"},
        {"CF-Connecting-IP": "192.0.2.1"},
        {"Host": "localhost:x"},
        {"Host": "::1"},
        {"Host": "evil.example@127.0.0.1"},
        {"Host": "\uff4cocalhost"},
    ],
)
async def test_the_docs_page_has_no_token_for_other_hosts_and_proxies(
    aiohttp_client: AiohttpClient, settings: Settings, headers: dict[str, str]
) -> None:
    client = await client_with(aiohttp_client, settings, docs_token=TOKEN)
    assert await token_in_page(client, headers) == ""


async def test_the_docs_page_has_no_token_for_http_1_0(aiohttp_client: AiohttpClient, settings: Settings) -> None:
    client = await client_with(aiohttp_client, settings, docs_token=TOKEN)
    async with ClientSession(version=HttpVersion10) as session, session.get(client.make_url("/docs")) as response:
        assert 'data-token=""' in await response.text()


async def test_the_docs_page_escapes_its_token(aiohttp_client: AiohttpClient, settings: Settings) -> None:
    token = '"><script>alert(1)</script>'
    client = await client_with(aiohttp_client, settings, docs_token=token)
    assert await token_in_page(client, {}) == token
    assert "<script>alert" not in await (await client.get("/docs")).text()


async def test_docs_off_removes_the_docs_page_and_the_description(
    aiohttp_client: AiohttpClient, settings: Settings
) -> None:
    client = await client_with(aiohttp_client, settings, docs="off")
    for path in ("/docs", "/openapi.json", "/docs/static/swagger-ui-bundle.js", "/docs/static/docs.js"):
        await problem_of(await client.get(path), 404, "route-not-found")
    start = await client.get("/", allow_redirects=False)
    assert (start.status, start.content_type) == (200, "application/json")
    text = await start.text()
    assert "\n" not in text
    assert (await start.json())["name"] == "todo-service"
    assert "/docs" not in text
    assert (await client.get("/problems")).status == 200
    assert (await client.get("/docs/static/problems.css")).status == 200


async def test_the_problems_page_explains_every_problem_type(client: Client) -> None:
    page = await (await client.get("/problems")).text()
    sections = dict(re.findall(r'<section id="([^"]+)">(.*?)</section>', page, re.DOTALL))
    assert list(sections) == list(TYPES)
    for name, section in sections.items():
        text = unescape(re.sub("<[^>]+>", "", section))
        kind = TYPES[name]
        for part in (f"/problems#{name}", kind.title, str(kind.status), kind.detail or kind.example):
            assert part in text.replace('\\"', '"')
        for part in (kind.meaning, kind.remedy):
            assert part.replace("`", "") in text
            assert part.endswith(".")
