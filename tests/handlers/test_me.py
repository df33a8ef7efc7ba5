"""A user's own data as a whole: the export, which is streamed, and the deletion, which leaves nothing."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientPayloadError, ClientResponse
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.api import TASKS, Api, Client, path_of, problem_of
from tests.support.cors import ORIGIN, assert_readable
from tests.support.database import Gateway, Start
from tests.support.exports import EXPORT, between_pages, tasks_in
from tests.support.pages import walk
from tests.support.processes import PATIENCE, free_port
from todo_service.database import connecting
from todo_service.handlers import me

pytestmark = pytest.mark.database

ME = "/api/me"

# pytest finds fixtures by their names in a module.

# Texts that look like what is between two tasks, or that something may take for the end of a line.
NASTY = [
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
    st.sampled_from(NASTY) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), max_size=8
).map("".join)

INSERT = """
    INSERT INTO tasks (user_id, title, description, created_at, revision)
    SELECT $1, title, description, timestamptz '2026-01-01Z' + n / $4 * interval '1 second', n
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS new (title, description, n)
"""


async def insert(
    connection: asyncpg.Connection, api: Api, texts: list[tuple[str, str | None]], *, at_once: int = 1
) -> None:
    """Tasks with these titles and descriptions; so many of them have the same time of creation."""
    await connection.execute("INSERT INTO users (id, revision) VALUES ($1, $2)", api.user_id, len(texts))
    await connection.execute(INSERT, api.user_id, [a for a, _ in texts], [b for _, b in texts], at_once)


async def export(api: Api) -> list[dict[str, Any]]:
    response = await api.call("GET", EXPORT)
    assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson; charset=utf-8")
    return tasks_in(await response.read())


async def traces(connection: asyncpg.Connection, user_id: str) -> dict[str, int]:
    """In how many rows of each table the user's id stands, in whatever column; tables without it are left out."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    count = 'SELECT count(*) FROM "{}" AS row WHERE position($1 IN row::text) > 0'
    found = {table: await connection.fetchval(count.format(table), user_id) for (table,) in tables}
    return {table: rows for table, rows in found.items() if rows}


def generation_of(response: ClientResponse) -> str:
    return response.headers["ETag"].strip('"').rpartition("-")[0]


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(TEXTS.map(lambda text: f"x{text}x"), st.none() | TEXTS), min_size=1, max_size=8))
async def test_an_export_has_each_task_as_the_list_gives_it(
    user: Callable[[], Api], connection: asyncpg.Connection, texts: list[tuple[str, str | None]]
) -> None:
    api = user()
    await insert(connection, api, texts)

    tasks = await export(api)

    assert tasks == await api.tasks(order="asc")
    assert [(task["title"], task["description"]) for task in tasks] == texts


@pytest.mark.parametrize("count", [1, me.PAGE_SIZE, me.PAGE_SIZE + 1, 2 * me.PAGE_SIZE, 2 * me.PAGE_SIZE + 1])
@pytest.mark.parametrize("at_once", [1, 7, 10_000])
async def test_an_export_of_many_tasks_has_each_once_oldest_first(
    owner: Api, stranger: Api, connection: asyncpg.Connection, count: int, at_once: int
) -> None:
    await insert(connection, stranger, [("x", None)])
    await insert(connection, owner, [("x", None)] * count, at_once=at_once)

    tasks = await export(owner)

    assert len({task["id"] for task in tasks}) == len(tasks) == count
    assert tasks == await walk(owner, f"{TASKS}?order=asc")


async def test_an_export_of_nothing_is_empty(owner: Api) -> None:
    assert await export(owner) == []


async def test_an_export_has_what_is_completed_and_not_what_is_deleted(owner: Api) -> None:
    deleted, task = await owner.create(), await owner.create(priority="low", due_date="2026-01-01T00:00:00Z")
    await owner.call("DELETE", path_of(deleted))
    await owner.call("PATCH", f"{path_of(task)}/complete")

    assert await export(owner) == [await owner.get(task)]


async def test_what_happens_while_an_export_is_sent_does_not_disturb_the_rest(
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


async def test_an_export_ends_well_when_the_user_is_deleted_meanwhile(
    owner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _ = await owner.create(), await owner.create()

    between_pages(monkeypatch, 1, lambda: owner.call("DELETE", ME))

    assert await export(owner) == [task]


async def test_an_export_has_the_headers_of_every_answer(owner: Api) -> None:
    await owner.create()
    response = await owner.call("GET", EXPORT, headers={"Origin": ORIGIN})
    assert_readable(response)
    assert response.headers["Cache-Control"] == "private, no-cache"


async def test_the_head_of_an_export_has_no_body(owner: Api) -> None:
    await owner.create()
    head = await owner.call("HEAD", EXPORT)
    get = await owner.call("GET", EXPORT)
    assert (head.status, await head.read()) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        *((method, EXPORT, "GET, HEAD") for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
        *((method, ME, "DELETE") for method in ("GET", "POST", "PUT", "PATCH", "OPTIONS")),
    ],
)
async def test_nothing_else_is_possible_there(owner: Api, method: str, path: str, allow: str) -> None:
    response = await owner.call(method, path)
    await problem_of(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == allow


@pytest.mark.parametrize(("method", "path"), [("GET", EXPORT), ("DELETE", ME)])
async def test_what_is_not_understood_is_refused_and_changes_nothing(
    owner: Api, client: Client, method: str, path: str
) -> None:
    task = await owner.create()
    await problem_of(await client.request(method, path), 401, "unauthorized")
    await problem_of(await owner.call(method, f"{path}?limit=1"), 400, "invalid-query")
    assert await owner.tasks() == [task]


@pytest.mark.parametrize(("method", "path"), [("GET", EXPORT), ("DELETE", ME)])
async def test_without_a_database_it_is_unavailable(start: Start, method: str, path: str) -> None:
    owner = await start(database_url=f"postgres://u:p@127.0.0.1:{free_port()}/d")
    await problem_of(await owner.call(method, path), 503, "unavailable")


async def test_an_export_breaks_off_when_its_database_goes_away(
    start: Start, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner = await start(database_url=gateway.url)
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
async def test_every_client_can_tell_that_an_export_broke_off(
    start: Start, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Without chunks (HTTP/1.0) the end of the connection is that of the answer, unless it is reset."""
    owner = await start(database_url=gateway.url)
    for _ in range(2):
        await owner.create()
    between_pages(monkeypatch, 1, gateway.close)
    reader, writer = await asyncio.open_connection(owner.client.host, owner.client.port)
    writer.write(f"GET {EXPORT} HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {owner.token}\r\n\r\n".encode())

    with pytest.raises(ConnectionResetError):
        await reader.read()

    writer.close()
    await gateway.open()


async def test_a_mistake_while_an_export_is_sent_is_no_end_of_it(owner: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        await owner.create()

    async def fail() -> None:
        raise ArithmeticError("a mistake")

    between_pages(monkeypatch, 1, fail)
    reader, writer = await asyncio.open_connection(owner.client.host, owner.client.port)
    writer.write(f"GET {EXPORT} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {owner.token}\r\n\r\n".encode())

    with pytest.raises(ConnectionResetError):
        await reader.read()

    writer.close()


async def test_deleting_a_user_leaves_no_trace_of_them_and_all_of_others(
    owner: Api, stranger: Api, connection: asyncpg.Connection
) -> None:
    for api in (owner, stranger):
        kept, deleted = await api.create(description=api.user_id), await api.create()
        await api.call("PATCH", f"{path_of(kept)}/complete")
        await api.call("DELETE", path_of(deleted))
        await api.call("POST", TASKS, json={"title": "x"}, headers={"Idempotency-Key": "once"})
    assert (await traces(connection, owner.user_id)).keys() == {"users", "tasks"}
    theirs = await traces(connection, stranger.user_id), await stranger.tasks()

    responses = [await owner.call("DELETE", ME) for _ in range(2)]

    assert [(response.status, await response.read()) for response in responses] == [(204, b"")] * 2
    assert await traces(connection, owner.user_id) == {}
    assert (await traces(connection, stranger.user_id), await stranger.tasks()) == theirs


async def test_a_user_who_was_deleted_may_begin_anew(owner: Api) -> None:
    newcomer = await owner.call("GET", TASKS)
    task = await owner.create()
    before = await owner.call("GET", TASKS)
    response = await owner.call("DELETE", ME, headers={"Origin": ORIGIN})
    assert_readable(response)

    gone = await owner.call("GET", TASKS, headers={"If-None-Match": before.headers["ETag"]})
    again = await owner.create()
    after = await owner.call("GET", TASKS, headers={"If-None-Match": before.headers["ETag"]})

    assert (gone.status, await gone.json(), gone.headers["ETag"]) == (200, [], newcomer.headers["ETag"])
    assert (task["revision"], again["revision"]) == (1, 1)
    assert (after.status, await after.json()) == (200, [again])
    assert len({generation_of(response) for response in (newcomer, before, after)}) == 3
    assert await owner.get(task) is None


# As many as wait for the user's row at once, each on a connection of its own: one less, since one is left to reads.
WRITERS = 7
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'todo-service' AND wait_event_type = 'Lock'
"""


async def test_whoever_writes_while_the_user_is_deleted_comes_before_or_after(
    start: Start, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    owner = await start(database_pool_size=WRITERS + 1, database_batch_size=1)
    for _ in range(20):
        task = await owner.create()
        requests: list[tuple[str, str, dict[str, Any]]] = [
            *[("DELETE", ME, {})] * 2,
            *[("POST", TASKS, {"json": {"title": "x"}})] * 2,
            ("POST", TASKS, {"json": {"title": "x"}, "headers": {"Idempotency-Key": "once"}}),
            ("PATCH", path_of(task), {"json": {"title": "changed"}}),
            ("PATCH", f"{path_of(task)}/complete", {}),
        ]
        random.shuffle(requests)

        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", owner.user_id)
            calls = [asyncio.create_task(owner.call(method, path, **rest)) for method, path, rest in requests]
            async with asyncio.timeout(PATIENCE):
                while await connection.fetchval(WAITING) < WRITERS:
                    await connection.execute("SELECT pg_stat_clear_snapshot()")
        responses = await asyncio.gather(*calls)

        assert {response.status for response in responses} <= {200, 201, 204, 404}
        left = await traces(connection, owner.user_id)
        assert left.get("users") == 1 or left == {}
        tasks = await owner.tasks(order="asc")
        revisions = [0, *sorted(each["revision"] for each in tasks)]
        jumps = [after for before, after in itertools.pairwise(revisions) if after != before + 1]
        assert len(jumps) <= 1, "to the first task with a key"
