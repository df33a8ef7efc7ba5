"""Failures: each failure of PostgreSQL gets the Problem that says whether the call may have been applied."""

import asyncio
import os
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from tests.support.api import TASKS, Api, problem_of
from tests.support.calls import WRITE, create, creation, gather, tasks_of, users
from tests.support.database import (
    INTERNAL,
    SHOW_SETTINGS,
    Gateway,
    StartService,
    assert_503,
    call_timeout,
    open_database,
    wait_for_blocked_session,
)
from tests.support.pgbouncer import PROGRAM
from tests.support.processes import TEST_TIMEOUT, wait_until
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.database.database import DATABASE
from todo_service.database.statements import Statement
from todo_service.handlers.tasks import CREATE_TASK
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database


# The failures of PostgreSQL and the network


async def test_a_statement_timeout_rolls_back_and_is_unavailable(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    slow = "WITH u AS (INSERT INTO users (id, revision) VALUES ($1, 1) RETURNING id) SELECT id, pg_sleep(600) FROM u"
    user_id = f"user-{uuid4()}"
    async with open_database(settings, database_timeout=2) as database:
        # The timeout of calls is longer than statement_timeout, which is tested here.
        with call_timeout(database, TEST_TIMEOUT), pytest.raises(Problem) as caught:
            await database.run(Statement("test/slow", slow, writes=True), user_id)
        assert caught.value.name == "unavailable"
        assert isinstance(caught.value.__cause__, asyncpg.QueryCanceledError)
    assert await connection.fetchval("SELECT count(*) FROM users WHERE id = $1", user_id) == 0


async def test_a_disk_error_rolls_back_and_is_unavailable(settings: Settings, connection: asyncpg.Connection) -> None:
    """A function raises io_error (58030), as PostgreSQL does when it can't read its disk."""
    body = "BEGIN RAISE EXCEPTION 'could not read' USING ERRCODE = 'io_error'; END"
    await connection.execute(f"CREATE OR REPLACE FUNCTION fail() RETURNS integer LANGUAGE plpgsql AS $${body}$$")
    failing = "WITH u AS (INSERT INTO users (id, revision) VALUES ($1, 1) RETURNING id) SELECT id, fail() FROM u"
    user_id = f"user-{uuid4()}"
    async with open_database(settings) as database:
        with pytest.raises(Problem) as caught:
            await database.run(Statement("test/failing", failing, writes=True), user_id)
    await connection.execute("DROP FUNCTION fail()")
    assert caught.value.name == "unavailable"
    assert await connection.fetchval("SELECT count(*) FROM users WHERE id = $1", user_id) == 0


async def test_requests_get_503_while_all_connections_are_busy(start_service: StartService) -> None:
    owner = await start_service(database_pool_size=1)
    database = owner.client.app[DATABASE]
    async with database._pool.acquire():
        with call_timeout(database, 1):
            await assert_503(await owner.call("GET", TASKS), "unavailable")
            await assert_503(await owner.call("POST", TASKS, json={"title": "x"}), "unavailable")
    assert await owner.tasks() == []


@pytest.mark.parametrize(
    ("connected", "method", "name"),
    [
        (False, "GET", "unavailable"),
        (False, "POST", "unavailable"),
        (True, "GET", "unavailable"),
        # Through pgbouncer, the service gets no response to BEGIN, so it never sends the write.
        (True, "POST", "unavailable" if PROGRAM in os.environ else "outcome-unknown"),
    ],
)
async def test_requests_get_503_at_the_deadline_if_the_server_does_not_answer(
    start_service: StartService, gateway: Gateway, connected: bool, method: str, name: str
) -> None:
    if not connected:
        gateway.passing.clear()
    owner = await start_service(database_url=gateway.url, database_pool_size=1)
    if connected:
        assert await owner.tasks() == []
        gateway.passing.clear()
    with call_timeout(owner.client.app[DATABASE], 1):
        await assert_503(await owner.call(method, TASKS, json={"title": "x"}), name)
    gateway.passing.set()
    assert len(await owner.tasks()) <= connected


@pytest.mark.parametrize("error", [asyncpg.InterfaceError, asyncpg.InternalClientError])
@pytest.mark.parametrize(("writes", "name"), [(True, "outcome-unknown"), (False, "unavailable")])
async def test_an_asyncpg_error_after_a_lost_connection_is_an_outage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: type[Exception], writes: bool, name: str
) -> None:
    """After PostgreSQL has ended a connection, asyncpg may raise errors that look like mistakes of the service."""

    async def fetchmany(connection: asyncpg.Connection, *_arguments: object, **_options: object) -> None:
        connection.terminate()
        raise error("cannot switch to state 13; another operation (2) is in progress")

    async with open_database(settings) as database:
        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Connection, "fetchmany", fetchmany)
            with pytest.raises(Problem) as caught:
                await database.run(Statement("test/lost", "SELECT $1::text", writes=writes), "x")
        assert caught.value.name == name
        assert await database.run_without_user(SHOW_SETTINGS)


# Expired calls


@pytest.mark.usefixtures("long_lock_timeout")
async def test_an_expired_call_that_was_not_sent_is_unavailable(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    sent, waiting = users(2)
    async with open_database(settings, database_pool_size=1, database_batch_size=1) as database:
        await database.run(WRITE, "opens the connection")
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            with call_timeout(database, 0.5):  # shorter than statement_timeout
                first, second = await gather(
                    database.run(CREATE_TASK, *creation(sent)), database.run(CREATE_TASK, *creation(waiting))
                )
            assert isinstance(first, Problem)
            assert isinstance(second, Problem)
            assert (first.name, second.name) == ("outcome-unknown", "unavailable")
        await create(database, waiting)
    assert await tasks_of(connection, waiting) == 1


@pytest.mark.usefixtures("long_lock_timeout")
async def test_an_expired_call_that_was_rolled_back_is_unavailable(
    settings: Settings,
    connection: asyncpg.Connection,
    observer: asyncpg.Connection,
) -> None:
    locked, other = sorted(users(2))
    async with open_database(settings, database_pool_size=1) as database:
        await create(database, locked)
        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", locked)
            calls = [asyncio.create_task(database.run(CREATE_TASK, *creation(each))) for each in (locked, other)]
            process = await wait_for_blocked_session(observer)
            [batch] = database._queue._in_flight
            sent = list(batch.calls)
            assert all(call.sent for call in sent)
            await observer.execute("SELECT pg_cancel_backend($1)", process)  # this rolls back both calls
            await wait_until(lambda: not sent[1].sent)
            await wait_for_blocked_session(observer)  # the first call was sent again, alone
            for call in sent:
                call.deadline = 0
            outcomes = await gather(*calls)
    assert [outcome.name for outcome in outcomes if isinstance(outcome, Problem)] == ["outcome-unknown", "unavailable"]
    assert await tasks_of(connection, other) == 0


# Mistakes of the service


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
async def test_a_mistake_of_the_service_is_logged_and_gets_a_500_without_details(
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
