"""GET /api/export returns all tasks of the user, oldest first, also if tasks change or the database fails."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientPayloadError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.api import TASKS, Api, path_of, problem_of
from tests.support.cors import ORIGIN, assert_readable
from tests.support.database import Gateway, StartService
from tests.support.exports import EXPORT, between_pages, tasks_in
from tests.support.list_pages import walk
from tests.support.processes import free_port
from todo_service.handlers import me

pytestmark = pytest.mark.database

ME = "/api/me"

# Texts that look like the text between two tasks, or like the end of a line.
AMBIGUOUS = [
    "},{",
    "}",
    '},{"',
    '"},{"id":"',
    "}\n{",
    "\\",
    '\\"',
    '\\},{\\"',
    "\n",
    "\r\n",
    "\u2028\u2029\x85",
    "\x01\x1f",
    "🍎",
    "é",
]
TEXTS = st.lists(
    st.sampled_from(AMBIGUOUS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), max_size=8
).map("".join)

INSERT = """
    INSERT INTO tasks (user_id, title, description, created_at, revision)
    SELECT $1, title, description, timestamptz '2026-01-01Z' + n / $4 * interval '1 second', n
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS new (title, description, n)
"""


async def insert(
    connection: asyncpg.Connection, api: Api, texts: list[tuple[str, str | None]], *, at_once: int = 1
) -> None:
    """Inserts tasks with these titles and descriptions. Each group of `at_once` tasks has one creation time."""
    await connection.execute("INSERT INTO users (id, revision) VALUES ($1, $2)", api.user_id, len(texts))
    await connection.execute(INSERT, api.user_id, [a for a, _ in texts], [b for _, b in texts], at_once)


async def export(api: Api) -> list[dict[str, Any]]:
    response = await api.call("GET", EXPORT)
    assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson; charset=utf-8")
    return tasks_in(await response.read())


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(TEXTS.map(lambda text: f"x{text}x"), st.none() | TEXTS), min_size=1, max_size=8))
async def test_an_export_has_the_same_tasks_as_the_list(
    make_user: Callable[[], Api], connection: asyncpg.Connection, texts: list[tuple[str, str | None]]
) -> None:
    api = make_user()
    await insert(connection, api, texts)

    tasks = await export(api)

    assert tasks == await api.tasks(order="asc")
    assert [(task["title"], task["description"]) for task in tasks] == texts


@pytest.mark.parametrize("count", [1, me.PAGE_SIZE, me.PAGE_SIZE + 1, 2 * me.PAGE_SIZE, 2 * me.PAGE_SIZE + 1])
@pytest.mark.parametrize("at_once", [1, 7, 10_000])
async def test_an_export_has_each_task_once_oldest_first(
    owner: Api, stranger: Api, connection: asyncpg.Connection, count: int, at_once: int
) -> None:
    await insert(connection, stranger, [("x", None)])
    await insert(connection, owner, [("x", None)] * count, at_once=at_once)

    tasks = await export(owner)

    assert len({task["id"] for task in tasks}) == len(tasks) == count
    assert tasks == await walk(owner, f"{TASKS}?order=asc")


async def test_an_export_without_tasks_is_empty(owner: Api) -> None:
    assert await export(owner) == []


async def test_an_export_has_completed_tasks_but_no_deleted_ones(owner: Api) -> None:
    deleted, task = await owner.create(), await owner.create(priority="low", due_date="2026-01-01T00:00:00Z")
    await owner.call("DELETE", path_of(deleted))
    await owner.call("PATCH", f"{path_of(task)}/complete")

    assert await export(owner) == [await owner.get(task)]


async def test_changes_during_an_export_affect_only_tasks_that_are_not_sent_yet(
    owner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, changed, deleted, last = [await owner.create(title) for title in ("sent", "changed", "deleted", "last")]

    async def interfere() -> None:
        for task in (sent, changed):
            await owner.call("PATCH", path_of(task), json={"title": f"{task['title']} later"})
        for task in (sent, deleted):
            await owner.call("DELETE", path_of(task))
        await owner.create("created")

    between_pages(monkeypatch, 1, interfere)
    tasks = await export(owner)

    assert [task["title"] for task in tasks] == ["sent", "changed later", "last", "created"]
    assert tasks[0] == sent
    assert tasks[2] == last


async def test_an_export_ends_early_without_an_error_if_the_account_is_deleted(
    owner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _ = await owner.create(), await owner.create()

    between_pages(monkeypatch, 1, lambda: owner.call("DELETE", ME))

    assert await export(owner) == [task]


async def test_an_export_has_the_cors_and_cache_headers_of_every_response(owner: Api) -> None:
    await owner.create()
    response = await owner.call("GET", EXPORT, headers={"Origin": ORIGIN})
    assert_readable(response)
    assert response.headers["Cache-Control"] == "private, no-cache"


async def test_head_gets_the_headers_of_an_export_without_a_body(owner: Api) -> None:
    await owner.create()
    head = await owner.call("HEAD", EXPORT)
    get = await owner.call("GET", EXPORT)
    assert (head.status, await head.read()) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


async def test_an_export_with_a_query_gets_400(owner: Api) -> None:
    await problem_of(await owner.call("GET", f"{EXPORT}?limit=1"), 400, "invalid-query")


# Failures


async def test_an_export_without_a_database_gets_503(start_service: StartService) -> None:
    owner = await start_service(database_url=f"postgres://u:p@127.0.0.1:{free_port()}/d")
    await problem_of(await owner.call("GET", EXPORT), 503, "unavailable")


async def test_an_export_fails_if_the_database_connection_is_lost(
    start_service: StartService, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner = await start_service(database_url=gateway.url)
    tasks = [await owner.create() for _ in range(2)]
    between_pages(monkeypatch, 1, gateway.close)

    response = await owner.call("GET", EXPORT)
    with pytest.raises(ClientPayloadError):
        await response.read()
    await gateway.open()

    assert response.status == 200
    assert await export(owner) == tasks
    assert "me/export_tasks" in caplog.text
    assert owner.token not in caplog.text


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_failed_export_ends_with_a_connection_reset(
    start_service: StartService, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """HTTP/1.0 has no chunks: for a client, an orderly close of the connection is the end of the body."""
    owner = await start_service(database_url=gateway.url)
    for _ in range(2):
        await owner.create()
    between_pages(monkeypatch, 1, gateway.close)
    reader, writer = await asyncio.open_connection(owner.client.host, owner.client.port)
    writer.write(f"GET {EXPORT} HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {owner.token}\r\n\r\n".encode())

    with pytest.raises(ConnectionResetError):
        await reader.read()

    writer.close()
    await gateway.open()


async def test_an_internal_error_during_an_export_resets_the_connection(
    owner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await owner.create()

    async def fail() -> None:
        raise ArithmeticError("a bug")

    between_pages(monkeypatch, 1, fail)
    reader, writer = await asyncio.open_connection(owner.client.host, owner.client.port)
    writer.write(f"GET {EXPORT} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {owner.token}\r\n\r\n".encode())

    with pytest.raises(ConnectionResetError):
        await reader.read()

    writer.close()
