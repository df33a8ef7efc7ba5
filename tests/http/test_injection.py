"""Injection: text in a request never becomes a SQL statement, a response header, or the path of another route."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.support.api import JSON, TASKS, Api, Client, path_of, problem_of
from tests.support.openapi_document import operations
from tests.support.raw_http import exchange
from todo_service.http.cursors import Cursor, encode_cursor

pytestmark = pytest.mark.database

SQL = [
    "'; DROP TABLE tasks; --",
    "' OR '1'='1",
    "' OR 1=1 --",
    "x' UNION SELECT id, id FROM users --",
    "'); DELETE FROM users; --",
    "\\'; DELETE FROM users; --",
    "'||(SELECT string_agg(title, ',') FROM tasks)||'",
    "1; SELECT pg_sleep(9)",
    "$1",
    "$$; DROP TABLE users; $$",
    "%s%(title)s{title}{0}",
    "%",
    "_",
    "U&'\\0027 OR true'",
    "/* x */--",
    '"; DROP TABLE tasks; --',
    "''",
]

LINE_ENDS = [
    "x\r\nX-Injected: yes",
    "x\nX-Injected: yes",
    "x\rX-Injected: yes",
    "x\r\n\r\nHTTP/1.1 200 OK\r\nX-Injected: yes\r\n\r\n",
    "x\u010d\u010aX-Injected: yes",  # the low bytes of the first two characters are CR and LF
    "x\u2028X-Injected: yes",
    "x\x85X-Injected: yes",
    "x\x0bX-Injected: yes\x0c\x1c\x1d\x1e\t",
    "x%0d%0aX-Injected: yes",
    "x\\r\\nX-Injected: yes",
    '"; X-Injected="yes',
]

PATHS = [
    *(f"/docs/static/{way}setup.cfg" for way in ("../../", "..%2f..%2f", "%2e%2e/%2e%2e/", "..\\..\\", "....//....//")),
    *(
        f"/docs/static/{way}"
        for way in ("/etc/passwd", "%2fetc%2fpasswd", "docs.js%00", "docs.js/", "DOCS.JS", "docs.js;x")
    ),
    *(
        f"/docs/static/{way}"
        for way in ("%252e%252e/docs.js", "../static/docs.js", "./docs.js", "docs.js%20", "..", "%2e")
    ),
    *(
        f"/docs/static/{name}"
        for name in ("", ".", "nothing", "index.html", "oauth2-redirect.html", "%2e%2e%2f__init__.py", "%00", "%ff")
    ),
    f"/docs/static/{'a%' * 300}",
    *(
        f"{way}/api/tasks"
        for way in ("/health/..", "/health/..;", "/health;/..", "/docs/static/../..", "/.", "/", "//")
    ),
    *(
        f"/health{way}"
        for way in ("%2f..%2fapi/tasks", "/%2e%2e/api/tasks", "/", ";", "%00", "%20", "/.", "//", "%2fready")
    ),
    *("/%61pi/tasks", "/api%2ftasks", "/%2fapi/tasks", "/%2561pi/tasks", "/API/tasks", "/Api/tasks", "/api/TASKS"),
    *("/api/./tasks", "/api//tasks", "/api/tasks/", "/api/tasks;x=y", "/api/tasks%00", "/api/tasks%20", "/api/tasks/."),
    *("/api/tasks/changes/", "/api/tasks%2fchanges", "/api/tasks/%2e%2e/export", "/api/x/../tasks", "/\\api/tasks"),
    *(
        "/.git/config",
        "/.env",
        "/sql/roles.sql",
        "/todo_service/app.py",
        "/metrics/",
        "/server-status",
        "/%c0%ae%c0%ae/",
    ),
]
"""Paths that must get 400, 401 or 404 without a token."""


async def test_sql_in_a_body_is_stored_as_text_or_refused(owner: Api) -> None:
    for text in SQL:
        task = await owner.create(text, description=text)
        assert (task["title"], task["description"]) == (text, text)
        changed = await owner.call("PATCH", path_of(task), json={"title": f"{text} ", "description": f" {text}"})
        assert (await changed.json())["description"] == f" {text}"
        for name in ("priority", "due_date", "completed", text):
            for method, path in (("POST", TASKS), ("PATCH", path_of(task))):
                response = await owner.call(method, path, json={"title": "x", name: text})
                await problem_of(response, 400, "invalid-body")
    assert sorted(task["title"] for task in await owner.tasks()) == sorted(SQL)


async def test_sql_in_a_url_or_a_header_is_text_or_refused(owner: Api) -> None:
    task = await owner.create("plain")
    parameters = {
        parameter["name"]
        for _, _, operation in operations()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }
    assert {"q", "cursor", "sort", "since"} <= parameters
    for text in SQL:
        for path in (TASKS, f"{TASKS}/changes"):
            for name in (*parameters, text):
                response = await owner.call("GET", path, params={name: text})
                if (path, name) == (TASKS, "q"):
                    assert await response.json() == []
                else:
                    await problem_of(response, 400, "invalid-query")
        for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("PATCH", "/complete")):
            response = await owner.call(
                method, f"{TASKS}/{quote(text, safe='')}{path}", json={"title": "x", "completed": True}
            )
            assert response.status in (400, 404)
        for name in ("If-Match", "If-None-Match"):
            for value in (text, '"' + text.replace('"', "") + '"'):
                response = await owner.call("PATCH", path_of(task), json={"title": "x"}, headers={name: value})
                assert response.status in (400, 412)
        for name in ("Origin", "Host", "X-User-Id", "X-Forwarded-For", "Cookie", "Accept", "User-Agent"):
            assert (await owner.call("GET", path_of(task), headers={name: text})).status == 200
    assert await owner.tasks() == [task]


async def test_sql_in_an_idempotency_key_is_text(owner: Api) -> None:
    keys = [text.replace(" ", "/**/") for text in SQL]
    made = [
        await (await owner.call("POST", TASKS, json={"title": key}, headers={"Idempotency-Key": key})).json()
        for key in keys
    ]
    assert {task["id"] for task in await owner.tasks()} == {task["id"] for task in made}
    assert len(made) == len({task["id"] for task in made})


async def test_sql_in_a_user_id_or_a_cursor_is_text(make_user: Callable[..., Api]) -> None:
    for text in SQL:
        api = make_user(f"{text} {uuid4()}")
        task = await api.create(text)
        assert await api.tasks() == [task]
        cursor = encode_cursor(Cursor("title", "asc", text.lower(), "00000000-0000-0000-0000-000000000000"))
        assert await api.tasks(sort="title", cursor=cursor) == [task]
        assert (await api.call("DELETE", "/api/me")).status == 204


def assert_nothing_was_injected(headers: Any) -> None:
    for name, value in headers.items():
        assert "injected" not in name.lower()
        assert all(" " <= character <= "~" for character in name + value), (name, value)


async def test_line_ends_in_a_task_or_a_user_id_reach_no_response_header(make_user: Callable[..., Api]) -> None:
    for text in LINE_ENDS:
        api = make_user(f"{text} {uuid4()}")
        made = await api.call("POST", TASKS, json={"title": text, "description": text})
        assert made.status == 201
        await api.create(f"{text} too")
        responses = [made]
        queries = ({"limit": "1", "sort": "title"}, {"limit": "1", "q": text}, {text: text}, {"cursor": text})
        responses += [await api.call("GET", TASKS, params=query) for query in queries]
        responses.append(await api.call("GET", f"{TASKS}/{quote(text, safe='')}"))
        responses.append(await api.call("GET", f"/docs/static/{quote(text, safe='')}"))
        responses.append(await api.call("POST", TASKS, json={text: text}))
        responses.append(await api.call("POST", TASKS, data=text.encode(), headers=JSON))
        assert sum("Link" in response.headers for response in responses) == 2
        for response in responses:
            assert_nothing_was_injected(response.headers)


@pytest.mark.parametrize(
    "name", ["Origin", "Idempotency-Key", "If-None-Match", "Authorization", "Content-Type", "Host", "X-Request-ID"]
)
async def test_line_ends_in_a_request_header_reach_no_response_header(owner: Api, name: str) -> None:
    for text in (text for text in LINE_ENDS if "HTTP" not in text):
        lines = ["POST /api/tasks HTTP/1.1", "Host: x", "Connection: close", f"{name}: https://app.example.com{text}"]
        responses = await exchange(owner.client, ("\r\n".join(lines) + "\r\n\r\n").encode())
        assert [response.status for response in responses] in ([400], [401])
        assert_nothing_was_injected(responses[0].headers)


async def test_line_ends_in_a_url_reach_no_response_header(client: Client) -> None:
    for path in ("/", "/docs", "/api/tasks", "/health", "/nothing"):
        for end in ("%0d%0a", "%0a", "%E5%98%8A%E5%98%8D", "%c4%8d%c4%8a"):
            for target in (f"{path}{end}X-Injected:%20yes", f"{path}?{end}X-Injected:%20yes=1"):
                request = (
                    f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: x{end}X-Injected: y\r\n\r\n"
                )
                [response] = await exchange(client, request.encode())
                assert_nothing_was_injected(response.headers)


@pytest.mark.parametrize("path", PATHS)
async def test_no_spelling_of_a_path_reaches_another_route(owner: Api, path: str) -> None:
    await owner.create("secret title")
    for target in (path, f"http://evil.example{path}"):
        for method in ("GET", "DELETE"):
            request = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            [response] = await exchange(owner.client, request.encode())
            assert response.status in ((404,) if path.startswith("/docs/static/") else (400, 401, 404))
            assert (response.status == 404) is (b"/problems#route-not-found" in response.body)
            assert response.headers["content-type"] == "application/problem+json"
            assert b"secret" not in response.body
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {owner.token}\r\n\r\n"
    [response] = await exchange(owner.client, request.encode())
    assert (response.status == 200) is (path == "/%61pi/tasks"), "only /%61pi/tasks is another spelling of /api/tasks"
    assert len(await owner.tasks()) == 1
