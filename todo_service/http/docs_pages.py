"""What people read: the page to try the API on, the page of the problem types, and where / leads to."""

import json
import re
from hashlib import sha256
from html import escape
from importlib.metadata import distribution
from pathlib import Path

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from todo_service import __version__
from todo_service.http.openapi import TITLE
from todo_service.problems import PAGE as PROBLEMS
from todo_service.problems import TYPES, ProblemType
from todo_service.settings import Settings, is_loopback

DESCRIPTION = "/openapi.json"
DOCS = "/docs"
STATIC = "/docs/static/"
# Nothing foreign, nothing inline, and no other page may frame these. Swagger UI has its icons in data addresses.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".png": "image/png"}

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

DOCS_BODY = f"""\
<noscript>This page needs JavaScript. It shows <a href="{DESCRIPTION}">{DESCRIPTION}</a>.</noscript>
<div id="swagger-ui" data-description="{DESCRIPTION}" data-token="{{token}}"></div>
<script src="{STATIC}swagger-ui-bundle.js"></script>
<script src="{STATIC}docs.js"></script>
"""

PROBLEMS_BODY = """\
<h1>Problem types</h1>
<p>What can't be done is answered with a problem document (RFC 9457). This is what each <code>type</code> means.</p>
<ul>
{contents}</ul>
"""

# A page of another origin that could read the answer sends Origin; many proxies, but not all, send one of the others.
FROM_ELSEWHERE = ("cf-connecting-ip", "forwarded", "origin", "via", "x-forwarded-", "x-real-ip")


def add_documentation(app: web.Application, settings: Settings, description: bytes) -> None:
    """Adds the pages and their files, and the description of the API; with DOCS=off only what errors refer to."""
    ours = Path(__file__).with_name("static")
    files = [ours / "problems.css"]
    app.router.add_get(PROBLEMS, _serve(_problems_page().encode(), "text/html; charset=utf-8"))
    if settings.docs == "on":
        names = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
        files += [ours / "docs.js", *(_swagger_ui() / name for name in names)]
        app.router.add_get("/", _redirect_to_docs)
        app.router.add_get(DOCS, _docs_page(settings.docs_token))
        app.router.add_get(DESCRIPTION, _serve(description, "application/json"))
    else:
        app.router.add_get("/", _tell_what_this_is)
    for path in files:
        app.router.add_get(f"{STATIC}{path.name}", _serve(path.read_bytes(), CONTENT_TYPES[path.suffix]))


def _swagger_ui() -> Path:
    """The files of Swagger UI. The package is for Flask, which is never loaded: it is the first with new releases."""
    return Path(str(distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")))


def _headers() -> dict[str, str]:
    """Ask again each time, since files of two versions don't go together."""
    return {
        hdrs.CACHE_CONTROL: "no-cache",
        "Content-Security-Policy": POLICY,
    }


def _serve(body: bytes, content_type: str) -> Handler:
    """A handler that answers with these bytes, unless the client has them already."""
    tag = sha256(body).hexdigest()[:32]

    async def handler(request: web.Request) -> web.Response:
        known = {etag.value for etag in request.if_none_match or ()}
        headers = {**_headers(), hdrs.CONTENT_TYPE: content_type, hdrs.ETAG: f'"{tag}"'}
        if known & {tag, "*"}:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)

    return handler


def _docs_page(token: str) -> Handler:
    """A handler for the page, with the token in it for those who call it as an address of this machine.

    That the service listens to this machine only is not enough: a foreign page may have its own name lead here, and a
    proxy may pass on what others ask for. What tells is looked at; yet other users of this machine see the token.
    """

    async def handler(request: web.Request) -> web.Response:
        body = DOCS_BODY.format(token=escape(token if token and _is_from_here(request) else ""))
        page = PAGE.format(title=TITLE, icon=f"{STATIC}favicon-32x32.png", style=f"{STATIC}swagger-ui.css", body=body)
        headers = {**_headers(), hdrs.CACHE_CONTROL: "no-store"}
        return web.Response(text=page, content_type="text/html", headers=headers)

    return handler


def _is_from_here(request: web.Request) -> bool:
    """Whether a browser on this machine asks for itself, as far as a request can tell."""
    if any(name.lower().startswith(FROM_ELSEWHERE) for name in request.headers) or "@" in request.host:
        return False
    if request.version < HttpVersion11:  # as proxies speak it, and no browser
        return False
    try:
        return request.host.isascii() and is_loopback(request.url.host or "")
    except ValueError:  # a Host that is none
        return False


async def _redirect_to_docs(_request: web.Request) -> web.Response:
    return web.Response(status=302, headers={hdrs.LOCATION: DOCS})


async def _tell_what_this_is(_request: web.Request) -> web.Response:
    return web.json_response({"name": TITLE, "version": __version__, "health": "/health", "problems": PROBLEMS})


def _problems_page() -> str:
    links = (f'<li><a href="#{kind.name}">{escape(kind.title)}</a></li>\n' for kind in TYPES.values())
    body = PROBLEMS_BODY.format(contents="".join(links)) + "".join(map(_section, TYPES.values()))
    return PAGE.format(title=f"Problem types of {TITLE}", icon="data:,", style=f"{STATIC}problems.css", body=body)


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
