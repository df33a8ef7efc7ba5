"""Sending: calls share a round trip to PostgreSQL, and each gets its own row or its own error."""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
import uvloop

from tests.support.calls import READ, WAIT_FOR_LOCK, WRITE, advisory_lock, create, creation, gather, tasks_of, users
from tests.support.database import open_database, wait_for_blocked_session
from tests.support.pgbouncer import PROGRAM, not_through_pgbouncer
from tests.support.processes import wait_until
from todo_service.database import batching, sending
from todo_service.database.batching import MAX_IN_FLIGHT
from todo_service.database.failures import RowCountError
from todo_service.database.statements import Statement
from todo_service.handlers.tasks import CREATE_TASK, LIST_TASKS
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database


# Batches and connections


@pytest.mark.parametrize(("size", "transactions"), [(1, 12), (5, 3), (12, 1), (100, 1)])
async def test_concurrent_calls_share_a_transaction_up_to_the_batch_size(
    settings: Settings, size: int, transactions: int
) -> None:
    async with open_database(settings, database_pool_size=1, database_batch_size=size) as database:
        names = [str(number) for number in range(12)]
        rows = await asyncio.gather(*(database.run(READ, name) for name in names))
        assert [row["user_id"] for row in rows] == names
        assert len({row["began"] for row in rows}) == transactions


async def test_a_call_queued_beside_a_slow_call_uses_another_connection(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SLOW_BATCH_SECONDS", 60)  # the call is sent at once, not after a wait
    async with open_database(settings, database_pool_size=3) as database:
        await asyncio.gather(database.run(READ, "opens one"), database.run(WRITE, "and another"))
        async with advisory_lock(connection) as name:
            slow = asyncio.create_task(database.run(WAIT_FOR_LOCK, name))
            fast = asyncio.create_task(database.run(READ, "x"))
            assert (await fast)["user_id"] == "x"
            assert not slow.done()
        await slow


async def test_a_read_is_sent_while_the_maximum_of_slow_reads_is_in_flight(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    async with open_database(settings, database_pool_size=3) as database:
        async with advisory_lock(connection) as name:
            slow = [asyncio.create_task(database.run(WAIT_FOR_LOCK, name)) for _ in range(MAX_IN_FLIGHT)]
            await wait_for_blocked_session(connection)
            assert (await database.run(READ, "x"))["user_id"] == "x"
            assert not any(task.done() for task in slow)
        await asyncio.gather(*slow)


async def test_batches_of_a_slow_statement_become_smaller(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "TARGET_BATCH_SECONDS", 0.1)
    slow = Statement("test/slow", "SELECT now() AS began, $1::text, pg_sleep(0.03)::text", writes=False)
    async with open_database(settings, database_pool_size=1) as database:
        transactions = []
        for _ in range(2):
            rows = await asyncio.gather(*(database.run(slow, str(number)) for number in range(10)))
            transactions.append(len({row["began"] for row in rows}))
    assert transactions[0] == 1
    assert transactions[1] >= 4, "at most three calls fit into 0.1 s"


@pytest.mark.parametrize("slow", [2, 500])
async def test_slow_reads_do_not_delay_writes(settings: Settings, connection: asyncpg.Connection, slow: int) -> None:
    async with open_database(settings, database_pool_size=2, database_batch_size=4) as database:
        async with advisory_lock(connection) as name:
            lists = [asyncio.create_task(database.run(WAIT_FOR_LOCK, name)) for _ in range(slow)]
            await wait_for_blocked_session(connection)
            for user_id in users(20):
                await create(database, user_id)
            assert not any(task.done() for task in lists)
        await asyncio.gather(*lists)


@pytest.mark.usefixtures("long_lock_timeout")
async def test_calls_succeed_while_only_one_connection_can_be_opened(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "RECONNECT_SECONDS", 0.2)
    tried = asyncio.Event()
    async with open_database(settings, database_pool_size=2) as database:
        await wait_until(lambda: len(database._senders._unconnected) == 2)  # otherwise one call opens both connections
        assert (await database.run(READ, "a"))["user_id"] == "a"

        async def refuse(_pool: asyncpg.Pool) -> None:
            tried.set()
            raise asyncpg.TooManyConnectionsError("test")

        monkeypatch.setattr(asyncpg.Pool, "_get_new_connection", refuse)
        async with advisory_lock(connection) as name:
            busy = asyncio.create_task(database.run(WAIT_FOR_LOCK, name))
            await wait_for_blocked_session(connection)
            waiting = asyncio.create_task(database.run(WRITE, "b"))  # its sender tries to connect
            await wait_until(tried.is_set)
        assert (await waiting)["user_id"] == "b"
        await busy
        await wait_until(
            lambda: len(database._senders._idle) + len(database._senders._unconnected) == 2
        )  # both are idle
        assert (await database.run(WRITE, "c"))["user_id"] == "c"


@not_through_pgbouncer
@pytest.mark.usefixtures("long_lock_timeout")
async def test_a_failure_to_open_one_more_connection_is_logged_once(
    settings: Settings,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sending, "RECONNECT_SECONDS", 0.01)
    attempts = 0

    async def refuse(_pool: asyncpg.Pool) -> None:
        nonlocal attempts
        attempts += 1
        raise asyncpg.TooManyConnectionsError("test")

    def logged() -> int:
        return caplog.text.count("can't open one more connection (TooManyConnectionsError: test); 1 are open")

    async with open_database(settings, database_pool_size=2) as database:
        await wait_until(lambda: len(database._senders._unconnected) == 2)  # otherwise one call opens both connections
        async with advisory_lock(connection) as name:
            busy = asyncio.create_task(database.run(WAIT_FOR_LOCK, name))
            await wait_for_blocked_session(connection)
            with monkeypatch.context() as patch:
                patch.setattr(asyncpg.Pool, "_get_new_connection", refuse)
                write = asyncio.create_task(database.run(WRITE, "b"))
                await wait_until(lambda: attempts > 3)
                assert logged() == 1
            assert (await write)["user_id"] == "b"
            assert not database._senders._has_failed_to_connect
        await busy
    assert "Traceback" not in caplog.text


# Failing calls


async def test_a_failing_call_fails_alone_and_no_call_is_applied_twice(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    user_id, *others = users(11)
    async with open_database(settings, database_pool_size=1) as database:
        calls = [creation(each, "fine") for each in others] + [creation(user_id, ""), creation(user_id, "fine")]
        random.shuffle(calls)
        outcomes = await gather(*(database.run(CREATE_TASK, *call) for call in calls))
    for call, outcome in zip(calls, outcomes, strict=True):
        if call[1] == "":
            assert isinstance(outcome, asyncpg.CheckViolationError)
        else:
            assert isinstance(outcome, asyncpg.Record)
            task = json.loads(outcome["body"])
            assert (task["user_id"], task["title"], task["revision"]) == (call[0], "fine", 1)
    assert await tasks_of(connection, user_id, *others) == 11


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], asyncpg.InterfaceError),
        ([1, "one too many"], asyncpg.InterfaceError),
        (["not a number"], asyncpg.DataError),
    ],
    ids=["too few", "too many", "wrong type"],
)
async def test_wrong_arguments_fail_alone_and_the_connection_stays_open(
    settings: Settings, connection: asyncpg.Connection, arguments: list[object], error: type[Exception], calls: int
) -> None:
    insert = "INSERT INTO users (id, revision) VALUES ($1, $2::bigint) RETURNING id, pg_backend_pid() AS pid"
    statement = Statement("test/insert", insert, writes=True)
    user_ids = users(calls)
    async with open_database(settings, database_pool_size=1) as database:
        before = await database.run(statement, users(1)[0], 1)
        wrong, *correct = await gather(
            database.run(statement, user_ids[0], *arguments),
            *(database.run(statement, user_id, 1) for user_id in user_ids[1:]),
        )
        assert isinstance(wrong, error)
        assert [row["id"] for row in correct if isinstance(row, asyncpg.Record)] == user_ids[1:]
        after = await database.run(statement, user_ids[0], 1)
        assert PROGRAM in os.environ or after["pid"] == before["pid"]
        assert database.counters.failures == {}
    assert await connection.fetchval("SELECT count(*) FROM users WHERE id = ANY($1)", user_ids) == calls


@pytest.mark.parametrize("rows", [[0], [2], [1, 0, 1], [1, 2, 1]])
async def test_a_wrong_number_of_rows_fails_all_calls_of_the_batch(settings: Settings, rows: list[int]) -> None:
    """The service can't tell which row belongs to which call."""
    statement = Statement("test/rows", "SELECT generate_series(1, length($1)) AS row", writes=False)
    async with open_database(settings, database_pool_size=1) as database:
        outcomes = await gather(*(database.run(statement, "x" * count) for count in rows))
        message = f"test/rows returned {sum(rows)} rows for {len(rows)} calls: each needs one"
        assert [repr(outcome) for outcome in outcomes] == [repr(RowCountError(message))] * len(rows)
        assert (await database.run(statement, "x"))["row"] == 1


@pytest.mark.parametrize("calls", [1, 10])
@pytest.mark.parametrize(
    ("statement", "name"), [(CREATE_TASK, "outcome-unknown"), (LIST_TASKS, "unavailable")], ids=["write", "read"]
)
@pytest.mark.usefixtures("long_lock_timeout")
async def test_a_lost_connection_fails_its_batch_and_no_call_is_sent_again(
    settings: Settings,
    connection: asyncpg.Connection,
    observer: asyncpg.Connection,
    statement: Statement,
    name: str,
    calls: int,
) -> None:
    owners = users(calls)
    async with open_database(settings, database_pool_size=1) as database:
        arguments = [creation(user_id) if statement.writes else (user_id, 10, None) for user_id in owners]
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            sent = [asyncio.create_task(database.run(statement, *each)) for each in arguments]
            process = await wait_for_blocked_session(observer)
            late = asyncio.create_task(database.run(CREATE_TASK, *creation(owners[0], "late")))
            await observer.execute("SELECT pg_terminate_backend($1)", process)
            outcomes = await gather(*sent)
        assert [outcome.name for outcome in outcomes if isinstance(outcome, Problem)] == [name] * calls
        assert json.loads((await late)["body"])["revision"] == 1
    assert await tasks_of(connection, *owners) == 1


# Cancelled calls


@pytest.mark.usefixtures("long_lock_timeout")
async def test_cancelled_calls_do_not_affect_the_other_calls_of_their_batch(
    settings: Settings, connection: asyncpg.Connection, observer: asyncpg.Connection
) -> None:
    owners = users(10)
    async with open_database(settings, database_pool_size=1, database_batch_size=6) as database:
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            calls = [asyncio.create_task(create(database, user_id, user_id)) for user_id in owners]
            await wait_for_blocked_session(observer)
            cancelled = [calls[index] for index in (0, 3, 7, 9)]  # the first two are in flight, the last two wait
            for call in cancelled:
                call.cancel()
            await asyncio.gather(*cancelled, return_exceptions=True)
        for index in (1, 2, 4, 5, 6, 8):
            task = await calls[index]
            assert (task["user_id"], task["title"]) == (owners[index], owners[index])
    assert await tasks_of(connection, owners[7], owners[9]) == 0
    assert await tasks_of(connection, *owners) == 8


async def close_after_cancelled_calls(settings: Settings, errors: list[dict[str, Any]]) -> None:
    """Cancels calls and closes the database. Appends an error to `errors` if no task handles it."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    slow = Statement("test/slow", "SELECT $1::text, pg_sleep(0.02)::text", writes=False)
    async with open_database(settings) as database:
        await asyncio.gather(database.run(READ, "x"), database.run(WRITE, "x"))
        calls = [asyncio.create_task(database.run(slow, str(number))) for number in range(MAX_IN_FLIGHT)]
        await asyncio.sleep(0.01)
        calls.append(asyncio.create_task(database.run(slow, "waits for them")))
        await asyncio.sleep(0.001)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        time.sleep(0.05)  # blocks the event loop, so that the batch ends before the pool closes  # noqa: ASYNC251


@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_closing_after_cancelled_calls_raises_no_error(
    settings: Settings, new_event_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    errors: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(close_after_cancelled_calls(settings, errors))
    assert errors == []
