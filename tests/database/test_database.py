"""The way to PostgreSQL: one row for each call, and what each kind of failure becomes."""

import asyncio
import os
import re
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import ClientResponse, web
from pglast.parser import parse_sql_json
from pytest_aiohttp import AiohttpClient

from tests.support.api import TASKS, Api, path_of, problem_of
from tests.support.database import (
    SETTINGS,
    Gateway,
    Start,
    has_sessions,
    is_waiting,
    limit,
    pool,
)
from tests.support.pgbouncer import PROGRAM, not_through_pgbouncer, pooled
from tests.support.processes import PATIENCE
from tests.support.sql_files import STATEMENTS, SqlFile, for_each
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.database import connecting
from todo_service.database.database import DATABASE
from todo_service.database.failures import RowCountError
from todo_service.database.statements import Statement, read_statement
from todo_service.problems import Problem
from todo_service.settings import Settings, read_settings

pytestmark = pytest.mark.database


INTERNAL = re.compile(r"asyncpg|postgres|sql|select|insert|violat|timeout|lock|users|127\.0|/tmp|test", re.IGNORECASE)
NEW = {"title": "x"}


async def refused(response: ClientResponse, name: str) -> None:
    """Checks a 503, which must tell nothing internal."""
    await problem_of(response, 503, name)
    assert response.headers.get("Retry-After") == ("1" if name == "unavailable" else None)
    assert INTERNAL.search(await response.text()) is None


async def test_a_statement_gives_its_row(settings: Settings) -> None:
    async with pool(settings) as database_:
        row = await database_.run(
            Statement("test/one", "SELECT $1::text AS a, $2::bigint AS b", writes=False), "x", None
        )
        assert dict(row) == {"a": "x", "b": None}


@pytest.mark.parametrize("rows", [0, 2])
async def test_a_statement_without_exactly_one_row_is_a_mistake(settings: Settings, rows: int) -> None:
    statement = Statement("test/rows", "SELECT generate_series(1, length($1))", writes=False)
    async with pool(settings) as database_:
        with pytest.raises(RowCountError, match=f"^test/rows returned {rows} rows"):
            await database_.run(statement, "x" * rows)


@for_each(STATEMENTS)
def test_what_may_change_something_counts_as_a_write(file: SqlFile) -> None:
    tree = parse_sql_json(file.text)
    changes = any(f'"{node}"' in tree for node in ("InsertStmt", "UpdateStmt", "DeleteStmt"))
    assert read_statement(file.name).writes is changes


async def test_a_locked_user_is_unavailable_and_nothing_was_applied(
    start: Start, connection: asyncpg.Connection, timeout_of_the_locked: int
) -> None:
    owner, other = await start(database_timeout=timeout_of_the_locked), await start()
    task = await owner.create()
    async with connection.transaction():
        await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", owner.user_id)
        await refused(await owner.call("POST", TASKS, json=NEW), "unavailable")
        await refused(await owner.call("PATCH", path_of(task), json=NEW), "unavailable")
        await refused(await owner.call("DELETE", path_of(task)), "unavailable")
        await other.create()
        assert await owner.tasks() == [task]
    assert await owner.tasks() == [task]
    assert (await owner.create())["revision"] == task["revision"] + 1


async def test_a_statement_that_takes_too_long_is_rolled_back_and_unavailable(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    slow = "WITH u AS (INSERT INTO users (id, revision) VALUES ($1, 1) RETURNING id) SELECT id, pg_sleep(600) FROM u"
    user_id = f"user-{uuid4()}"
    async with pool(settings, database_timeout=2) as database_:
        with limit(database_, PATIENCE), pytest.raises(Problem) as caught:  # so that the server's own comes first
            await database_.run(Statement("test/slow", slow, writes=True), user_id)
        assert caught.value.name == "unavailable"
        assert isinstance(caught.value.__cause__, asyncpg.QueryCanceledError)
    assert await connection.fetchval("SELECT count(*) FROM users WHERE id = $1", user_id) == 0


async def test_a_disk_that_fails_the_database_is_unavailable_and_nothing_was_applied(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    """What PostgreSQL says then (58030, io_error), said by a function."""
    body = "BEGIN RAISE EXCEPTION 'could not read' USING ERRCODE = 'io_error'; END"
    await connection.execute(f"CREATE OR REPLACE FUNCTION fail() RETURNS integer LANGUAGE plpgsql AS $${body}$$")
    failing = "WITH u AS (INSERT INTO users (id, revision) VALUES ($1, 1) RETURNING id) SELECT id, fail() FROM u"
    user_id = f"user-{uuid4()}"
    async with pool(settings) as database_:
        with pytest.raises(Problem) as caught:
            await database_.run(Statement("test/failing", failing, writes=True), user_id)
    await connection.execute("DROP FUNCTION fail()")
    assert caught.value.name == "unavailable"
    assert await connection.fetchval("SELECT count(*) FROM users WHERE id = $1", user_id) == 0


async def test_a_pool_that_stays_busy_is_unavailable_until_it_is_not(start: Start) -> None:
    owner = await start(database_pool_size=1)
    database_ = owner.client.app[DATABASE]
    async with database_._pool.acquire():
        with limit(database_, 1):
            await refused(await owner.call("GET", TASKS), "unavailable")
            await refused(await owner.call("POST", TASKS, json=NEW), "unavailable")
    assert await owner.tasks() == []


@pytest.mark.parametrize(("method", "name"), [("GET", "unavailable"), ("POST", "outcome-unknown")])
async def test_a_connection_that_is_lost_leaves_the_outcome_of_writes_unknown(
    start: Start,
    connection: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    name: str,
) -> None:
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    owner = await start()
    observer = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE tasks")
        call = asyncio.ensure_future(owner.call(method, TASKS, json=NEW))
        await observer.execute("SELECT pg_terminate_backend($1)", await is_waiting(observer))
        await refused(await call, name)
    await observer.close()
    assert await owner.tasks() == []


@pytest.mark.parametrize(
    ("connected", "method", "name"),
    [
        (False, "GET", "unavailable"),
        (False, "POST", "unavailable"),
        (True, "GET", "unavailable"),
        (True, "POST", "unavailable" if PROGRAM in os.environ else "outcome-unknown"),  # no transaction had begun
    ],
)
async def test_a_server_that_never_answers_is_not_waited_for_for_longer_than_the_timeout(
    start: Start, gateway: Gateway, connected: bool, method: str, name: str
) -> None:
    if not connected:
        gateway.passing.clear()
    owner = await start(database_url=gateway.url, database_pool_size=1)
    if connected:
        assert await owner.tasks() == []
        gateway.passing.clear()
    with limit(owner.client.app[DATABASE], 1):
        await refused(await owner.call(method, TASKS, json=NEW), name)
    gateway.passing.set()
    assert len(await owner.tasks()) <= connected


async def test_the_service_starts_without_its_database_and_works_when_it_is_there(
    start: Start, gateway: Gateway
) -> None:
    await gateway.close()
    owner = await start(database_url=gateway.url)
    for _ in range(2):
        assert (await owner.client.get("/health")).status == 200
        await refused(await owner.client.get("/health/ready"), "unavailable")
        await refused(await owner.call("GET", TASKS), "unavailable")
        await refused(await owner.call("POST", TASKS, json=NEW), "unavailable")
        await gateway.open()
        assert (await owner.client.get("/health/ready")).status == 200
        assert await owner.tasks() == []
        await gateway.close()


async def test_a_database_that_was_not_migrated_is_not_ready(start: Start, empty_database: str) -> None:
    owner = await start(database_url=pooled(empty_database))
    assert (await owner.client.get("/health")).status == 200
    await problem_of(await owner.client.get("/health/ready"), 503, "unavailable")


@pytest.mark.parametrize(
    ("sql", "arguments", "error"),
    [
        ("INSERT INTO users (id, revision) VALUES ('', 1) RETURNING id", 0, "CheckViolationError"),
        ("INSERT INTO users (id, revision) VALUES ($1, 1) RETURNING id", 2, "InterfaceError: the server expects 1 arg"),
        ("INSERT INTO users (id, revision) VALUES ($1, 1) RETURNING id", 0, "InterfaceError: the server expects 1 arg"),
        ("SELECT generate_series(1, 2), $1::text", 1, "RowCountError"),
        ("SELECT 1 +", 0, "PostgresSyntaxError"),
    ],
)
async def test_a_mistake_of_the_service_is_logged_and_tells_nothing(
    aiohttp_client: AiohttpClient,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    sql: str,
    arguments: int,
    error: str,
) -> None:
    wrong = Statement("test/wrong", sql, writes=True)

    async def handle(request: web.Request) -> web.Response:
        run: Any = request.app[DATABASE].run if arguments else request.app[DATABASE].run_without_user
        await run(wrong, *["x"] * arguments)
        return web.Response()

    app = create_app(settings)
    app.router.add_get("/wrong", handle)
    owner = Api(await aiohttp_client(app), "x", sign_token(settings.jwt_secret, "x", days=1))
    response = await owner.call("GET", "/wrong")
    await problem_of(response, 500, "internal-error")
    assert INTERNAL.search(await response.text()) is None
    assert error in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("calls", [1, 3])
async def test_a_wrong_number_of_arguments_fails_alone_and_keeps_the_connection(
    settings: Settings, connection: asyncpg.Connection, calls: int
) -> None:
    insert = "INSERT INTO users (id, revision) VALUES ($1, 1) RETURNING id, pg_backend_pid() AS pid"
    statement = Statement("test/insert", insert, writes=True)
    users = [f"user-{uuid4()}" for _ in range(calls)]
    async with pool(settings, database_pool_size=1) as database_:
        [before] = await asyncio.gather(database_.run(statement, f"user-{uuid4()}"))
        wrong, *good = await asyncio.gather(
            database_.run(statement, users[0], "one too many"),
            *(database_.run(statement, user_id) for user_id in users[1:]),
            return_exceptions=True,
        )
        assert isinstance(wrong, asyncpg.InterfaceError)
        assert [row["id"] for row in good if isinstance(row, asyncpg.Record)] == users[1:]
        after = await database_.run(statement, users[0])
        assert PROGRAM in os.environ or after["pid"] == before["pid"]
        assert database_.counters.failures == {}
    assert await connection.fetchval("SELECT count(*) FROM users WHERE id = ANY($1)", users) == calls


@pytest.mark.parametrize("error", [asyncpg.InterfaceError, asyncpg.InternalClientError])
@pytest.mark.parametrize(("writes", "name"), [(True, "outcome-unknown"), (False, "unavailable")])
async def test_what_asyncpg_says_of_a_connection_that_was_lost_is_no_mistake(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: type[Exception], writes: bool, name: str
) -> None:
    """After a server has said that it ends a connection, asyncpg can't use it, and may say so as if by mistake."""

    async def fetchmany(connection: asyncpg.Connection, *_arguments: object, **_options: object) -> None:
        connection.terminate()
        raise error("cannot switch to state 13; another operation (2) is in progress")

    async with pool(settings) as database_:
        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Connection, "fetchmany", fetchmany)
            with pytest.raises(Problem) as caught:
                await database_.run(Statement("test/lost", "SELECT $1::text", writes=writes), "x")
        assert caught.value.name == name
        assert await database_.run_without_user(SETTINGS)


@not_through_pgbouncer
async def test_sessions_are_kept_and_not_reset(start: Start, connection: asyncpg.Connection) -> None:
    await has_sessions(connection, 0)
    owner = await start(database_pool_size=1)
    task = await owner.create()
    pids = set()
    for method, path, name in [
        ("GET", TASKS, "list_tasks"),
        ("GET", path_of(task), "get_task"),
        ("PATCH", f"{path_of(task)}/complete", "complete_task"),
        ("DELETE", path_of(task), "delete_task"),
    ]:
        await owner.call(method, path)
        [(pid, query)] = await connection.fetch(
            "SELECT pid, query FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'todo-service'"
        )
        assert query.startswith(f"-- tasks/{name}\n")
        pids.add(pid)
    assert len(pids) == 1


@pytest.mark.parametrize("statement_cache", [pytest.param(100, marks=not_through_pgbouncer), 0])
async def test_each_statement_has_our_settings(settings: Settings, statement_cache: int) -> None:
    async with pool(settings, database_timeout=20, database_statement_cache=statement_cache) as database_:
        assert dict(await database_.run_without_user(SETTINGS)) == {
            "application_name": "todo-service",
            "jit": "off",
            "lock_timeout": connecting.LOCK_TIMEOUT,
            "plan_cache_mode": "force_generic_plan",
            "statement_timeout": "18s",
            "geqo": "on",
        }


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?sslmode=disable",
        "?sslmode=prefer",
        "?sslmode=disable&channel_binding=require",
        "?connect_timeout=10&keepalives=1&keepalives_idle=30&tcp_user_timeout=1000&gssencmode=disable",
        "?pgbouncer=true&connection_limit=1&pool_timeout=0",
        "?supa=base-pooler.x&client_encoding=auto",
        "?target_session_attrs=read-write&application_name=theirs&fallback_application_name=x",
        pytest.param("?options=-c%20geqo%3Doff", marks=not_through_pgbouncer),
    ],
)
@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
async def test_urls_as_hosts_give_them_work(
    settings: Settings, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, scheme: str, query: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", gateway.url.replace("postgres://", f"{scheme}://") + query)
    async with pool(settings, database_url=read_settings("database_url").database_url) as database_:
        row = await database_.run_without_user(SETTINGS)
    assert row["application_name"] == "todo-service"
    assert row["geqo"] == ("off" if "geqo" in query else "on")


async def test_a_server_without_tls_is_not_used_when_tls_is_required(start: Start, gateway: Gateway) -> None:
    owner = await start(database_url=f"{gateway.url}?sslmode=require")
    await refused(await owner.client.get("/health/ready"), "unavailable")
