"""The HTML pages: /docs, where users can try the API, and /problems, which explains the problem types."""

import json
import re
from contextlib import suppress
from functools import cache
from hashlib import sha256
from html import escape
from importlib.metadata import distribution
from pathlib import Path

from aiohttp import HttpVersion11, hdrs, web

from todo_service import __version__
from todo_service.http.etags import match_tag, parse_tags
from todo_service.http.openapi import TITLE
from todo_service.problems import PAGE as PROBLEMS
from todo_service.problems import TYPES, ProblemType
from todo_service.settings import is_loopback

DESCRIPTION = web.AppKey("description", bytes)
DOCS_TOKEN = web.AppKey("docs_token", str)

# The pages load nothing from other origins and run no inline scripts, and no page may embed them in a frame. Swagger UI
# has its icons in data URLs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

STATIC = Path(__file__).with_name("static")
SWAGGER_UI = Path(str(distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")))
"""The files of Swagger UI, from the package that gets new releases first. Flask itself is not imported."""

DOCS_FILES = {
    "docs.js": STATIC,
    "swagger-ui-bundle.js": SWAGGER_UI,
    "swagger-ui.css": SWAGGER_UI,
    "favicon-32x32.png": SWAGGER_UI,
}
"""The files of /docs and their folders. /problems needs problems.css only."""

CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".png": "image/png"}

# All addresses are relative, so that the pages also work behind a proxy that serves them below another path.
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{icon}">
<link rel="stylesheet" href="{style}">
</head>
<body>
{body}</body>
</html>
"""

DOCS_BODY = """\
<noscript>This page needs JavaScript. It shows <a href="openapi.json">/openapi.json</a>.</noscript>
<div id="swagger-ui" data-description="openapi.json" data-token="{token}"></div>
<script src="docs/static/swagger-ui-bundle.js"></script>
<script src="docs/static/docs.js"></script>
"""

PROBLEMS_BODY = """\
<h1>Problem types</h1>
<p>Errors are problem documents (RFC 9457). This page explains each <code>type</code>.</p>
<ul>
{contents}</ul>
"""

# When a browser on this machine opens the page, it sends none of these headers. It sends Origin if a page of another
# origin could read the response. Most proxies add one of the other headers.
PROXY_HEADERS = ("cf-connecting-ip", "forwarded", "origin", "via", "x-forwarded-", "x-real-ip")


async def get_docs(request: web.Request) -> web.Response:
    """GET /docs: the page. For a browser on this machine, it contains the token of `serve --embedded`.

    `serve --embedded` listens on a loopback address, but this is not enough. The name of another site may resolve to
    this address (DNS rebinding), and a proxy may forward requests of other machines. All users of this machine can get
    the token.
    """
    token = request.app[DOCS_TOKEN]
    body = DOCS_BODY.format(token=escape(token if token and _is_local(request) else ""))
    page = PAGE.format(title=TITLE, icon="docs/static/favicon-32x32.png", style="docs/static/swagger-ui.css", body=body)
    headers = {**_headers("text/html; charset=utf-8"), hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=page.encode(), headers=headers)


async def get_description(request: web.Request) -> web.Response:
    """GET /openapi.json"""
    return _respond(request, request.app[DESCRIPTION], "application/json")


async def get_problems(request: web.Request) -> web.Response:
    """GET /problems"""
    return _respond(request, _problems_page(), "text/html; charset=utf-8")


async def get_file(request: web.Request) -> web.Response:
    """GET /docs/static/..."""
    path = Path(request.path)
    return _respond(request, _read_file(path.name), CONTENT_TYPES[path.suffix])


async def redirect_to_docs(_request: web.Request) -> web.Response:
    """GET /"""
    return web.Response(status=302, headers={hdrs.LOCATION: "docs"})


async def get_name(_request: web.Request) -> web.Response:
    """GET / with DOCS=off"""
    return web.json_response({"name": TITLE, "version": __version__, "health": "health", "problems": "problems"})


def _headers(content_type: str) -> dict[str, str]:
    """With `no-cache`, browsers revalidate a file each time: files of different releases don't work together."""
    return {hdrs.CACHE_CONTROL: "no-cache", "Content-Security-Policy": POLICY, hdrs.CONTENT_TYPE: content_type}


def _respond(request: web.Request, body: bytes, content_type: str) -> web.Response:
    """A response with the body, or 304 if the client already has this body."""
    tag, known = _tag(body), ", ".join(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    headers = {**_headers(content_type), hdrs.ETAG: f'"{tag}"'}
    with suppress(ValueError):  # there is no condition, or it is malformed: public routes ignore malformed headers
        if sent := match_tag(parse_tags(known, strong=False), tag):
            return web.Response(status=304, headers={**headers, hdrs.ETAG: sent})
    return web.Response(body=body, headers=headers)


@cache
def _tag(body: bytes) -> str:
    return sha256(body).hexdigest()[:32]


@cache
def _read_file(name: str) -> bytes:
    return (DOCS_FILES.get(name, STATIC) / name).read_bytes()


def _is_local(request: web.Request) -> bool:
    """Whether a browser on this machine sent the request directly, according to the headers."""
    if any(name.lower().startswith(PROXY_HEADERS) for name in request.headers) or "@" in request.host:
        return False
    if request.version < HttpVersion11:  # some proxies use HTTP/1.0, browsers never do
        return False
    try:
        return request.host.isascii() and is_loopback(request.url.host or "")
    except ValueError:  # an invalid Host
        return False


@cache
def _problems_page() -> bytes:
    links = (f'<li><a href="#{kind.name}">{escape(kind.title)}</a></li>\n' for kind in TYPES.values())
    body = PROBLEMS_BODY.format(contents="".join(links)) + "".join(map(_section, TYPES.values()))
    page = PAGE.format(title=f"Problem types of {TITLE}", icon="data:,", style="docs/static/problems.css", body=body)
    return page.encode()


def _section(kind: ProblemType) -> str:
    example = json.dumps(kind.example_document(), indent=2)
    headers = "".join(f", <code>{name}</code>" for name in kind.headers)
    return (
        f'<section id="{kind.name}">\n<h2><a href="#{kind.name}">{escape(kind.title)}</a></h2>\n'
        f'<p class="status">{kind.status}, <code>{PROBLEMS}#{kind.name}</code>{headers}</p>\n'
        f"<p>{_marked(kind.meaning)}</p>\n<p>{_marked(kind.remedy)}</p>\n<pre>{escape(example)}</pre>\n</section>\n"
    )


def _marked(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
