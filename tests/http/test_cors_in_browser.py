"""Cross-origin requests in a browser: configured origins can call the API, and no other origin can embed a response."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from selenium.webdriver import Chrome

from tests.support.processes import SECRET, served
from todo_service.auth.tokens import sign_token

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]  # one browser at a time

FETCH = """
    const [url, token, done] = arguments;
    const tracing = {traceparent: "00-a-b-01", baggage: "a=b", "sentry-trace": "a-b-1", "X-Requested-With": "fetch"};
    const headers = {Authorization: `Bearer ${token}`, "Content-Type": "application/json; charset=utf8", ...tracing};
    fetch(`${url}/api/tasks`, {method: "POST", headers, body: '{"title": "x"}', credentials: "include"})
        .then((response) => done([response.status, response.headers.get("ETag")]), (error) => done(String(error)));
"""

EMBED = """
    const [url, done] = arguments;
    const image = new Image();
    image.onload = () => done("loaded");
    image.onerror = () => done("blocked");
    image.src = `${url}/docs/static/favicon-32x32.png`;
"""


@pytest.fixture
def other_origin(tmp_path: Path) -> Iterator[str]:
    """The origin of a page that another server serves."""
    (tmp_path / "index.html").write_text("<!DOCTYPE html><title>Another origin</title>")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("configured", [True, False])
def test_another_origin_can_call_the_api_only_if_configured_and_can_embed_nothing(
    browser: Chrome, other_origin: str, service_database_url: str, tmp_path: Path, configured: bool
) -> None:
    settings = {"DATABASE_URL": service_database_url, "CORS_ORIGINS": other_origin if configured else ""}
    with served(tmp_path / "log", **settings) as (_, url):
        browser.get(f"{other_origin}/index.html")
        result: Any = browser.execute_async_script(FETCH, url, sign_token(SECRET, other_origin, days=1))
        assert result == ([201, '"1"'] if configured else "TypeError: Failed to fetch")
        assert browser.execute_async_script(EMBED, url) == "blocked"
        browser.get(f"{url}/docs")
        assert browser.execute_async_script(EMBED, url) == "loaded"
