"""Calls that share a round trip: each gets its own answer, whatever happens to the others."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import uvloop

from tests.support.calls import GATE, TRANSACTION, WRITE, create, creation, gate, gather, tasks_of, users
from tests.support.database import has_sessions, is_waiting, limit, pool
from tests.support.processes import until
from tests.support.sql_files import OWNED
from todo_service.database import batching, connecting, sending
from todo_service.database.batching import MAX_IN_FLIGHT, StatementQueue
from todo_service.database.calls import PendingCall
from todo_service.database.database import Database
from todo_service.database.statements import Statement
from todo_service.handlers.tasks import COMPLETE_TASK, CREATE_TASK, DELETE_TASK, GET_TASK, LIST_TASKS, UPDATE_TASK
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database


@pytest.mark.parametrize(("size", "transactions"), [(1, 12), (5, 3), (12, 1), (100, 1)])
async def test_calls_that_come_together_are_sent_together(settings: Settings, size: int, transactions: int) -> None:
    async with pool(settings, database_pool_size=1, database_batch_size=size) as database_:
        names = [str(number) for number in range(12)]
        rows = await asyncio.gather(*(database_.run(TRANSACTION, name) for name in names))
        assert [row["user_id"] for row in rows] == names
        assert len({row["began"] for row in rows}) == transactions


async def test_a_write_goes_out_at_once_while_reads_are_busy(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    async with pool(settings, database_pool_size=3) as database_:
        async with gate(connection) as name:
            busy = [asyncio.create_task(database_.run(GATE, name)) for _ in range(100)]
            await is_waiting(connection)
            assert (await database_.run(WRITE, "x"))["user_id"] == "x"
            assert not any(task.done() for task in busy)
        assert len(await asyncio.gather(*busy)) == 100


async def test_what_comes_with_a_slow_call_is_sent_over_another_connection(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SLOW_BATCH_SECONDS", 60)  # at once, not because of the wait
    async with pool(settings, database_pool_size=3) as database_:
        await asyncio.gather(database_.run(TRANSACTION, "opens one"), database_.run(WRITE, "and another"))
        async with gate(connection) as name:
            slow = asyncio.create_task(database_.run(GATE, name))
            fast = asyncio.create_task(database_.run(TRANSACTION, "x"))
            assert (await fast)["user_id"] == "x"
            assert not slow.done()
        await slow


async def test_a_slow_batch_is_not_waited_for(settings: Settings, connection: asyncpg.Connection) -> None:
    async with pool(settings, database_pool_size=3) as database_:
        async with gate(connection) as name:
            slow = [asyncio.create_task(database_.run(GATE, name)) for _ in range(MAX_IN_FLIGHT)]
            await is_waiting(connection)
            assert (await database_.run(TRANSACTION, "x"))["user_id"] == "x"
            assert not any(task.done() for task in slow)
        await asyncio.gather(*slow)


async def test_batches_of_a_slow_statement_shrink(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "TARGET_BATCH_SECONDS", 0.1)
    slow = Statement("test/slow", "SELECT now() AS began, $1::text, pg_sleep(0.03)::text", writes=False)
    async with pool(settings, database_pool_size=1) as database_:
        transactions = []
        for _ in range(2):
            rows = await asyncio.gather(*(database_.run(slow, str(number)) for number in range(10)))
            transactions.append(len({row["began"] for row in rows}))
    assert transactions[0] == 1
    assert transactions[1] >= 4  # three calls, or fewer, take a tenth of a second


@pytest.mark.parametrize("slow", [2, 500])
async def test_slow_lists_do_not_hold_up_creates(settings: Settings, connection: asyncpg.Connection, slow: int) -> None:
    async with pool(settings, database_pool_size=2, database_batch_size=4) as database_:
        async with gate(connection) as name:
            lists = [asyncio.create_task(database_.run(GATE, name)) for _ in range(slow)]
            await is_waiting(connection)
            for user_id in users(20):
                await create(database_, user_id)
            assert not any(task.done() for task in lists)
        await asyncio.gather(*lists)


async def test_a_call_that_fails_fails_alone_and_nothing_is_applied_twice(
    settings: Settings, connection: asyncpg.Connection
) -> None:
    user_id, *others = users(11)
    async with pool(settings, database_pool_size=1) as database_:
        calls = [creation(each, "fine") for each in others] + [creation(user_id, ""), creation(user_id, "fine")]
        random.shuffle(calls)
        answers = await gather(*(database_.run(CREATE_TASK, *call) for call in calls))
    for call, answer in zip(calls, answers, strict=True):
        if call[1] == "":
            assert isinstance(answer, asyncpg.CheckViolationError)
        else:
            assert isinstance(answer, asyncpg.Record)
            task = json.loads(answer["body"])
            assert (task["user_id"], task["title"], task["revision"]) == (call[0], "fine", 1)
    assert await tasks_of(connection, user_id, *others) == 11


async def test_arguments_that_cannot_be_sent_fail_alone(settings: Settings) -> None:
    statement = Statement("test/text", "SELECT $1::text AS user_id, $2::text AS text", writes=False)
    async with pool(settings, database_pool_size=1) as database_:
        calls = [("a", "x"), ("b", 7), ("c", "x")]
        good, bad, good_too = await gather(*(database_.run(statement, *call) for call in calls))
        assert isinstance(good, asyncpg.Record)
        assert isinstance(bad, asyncpg.DataError)
        assert isinstance(good_too, asyncpg.Record)
        assert (good["user_id"], good_too["user_id"]) == ("a", "c")


@pytest.mark.parametrize("rows", [0, 2])
async def test_when_rows_cannot_be_told_apart_every_caller_fails(settings: Settings, rows: int) -> None:
    """fetchmany gives no hint where in the answer a row is missing."""
    statement = Statement("test/rows", "SELECT generate_series(1, length($1)) AS row", writes=False)
    async with pool(settings, database_pool_size=1) as database_:
        answers = await gather(*(database_.run(statement, "x" * count) for count in (1, rows, 1)))
        assert [str(answer) for answer in answers] == [
            f"test/rows returned {rows + 2} rows for 3 calls: each needs one"
        ] * 3
        assert (await database_.run(statement, "x"))["row"] == 1


@pytest.mark.parametrize(
    ("statement", "name"), [(CREATE_TASK, "outcome-unknown"), (LIST_TASKS, "unavailable")], ids=["write", "read"]
)
async def test_a_lost_connection_is_told_to_all_of_its_batch_and_nothing_is_sent_again(
    settings: Settings,
    connection: asyncpg.Connection,
    observer: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    statement: Statement,
    name: str,
) -> None:
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    owners = users(10)
    async with pool(settings, database_pool_size=1) as database_:
        arguments = [creation(user_id) if statement.writes else (user_id, 10, None) for user_id in owners]
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            calls = [asyncio.create_task(database_.run(statement, *each)) for each in arguments]
            process = await is_waiting(observer)
            late = asyncio.create_task(database_.run(CREATE_TASK, *creation(owners[0], "late")))
            await observer.execute("SELECT pg_terminate_backend($1)", process)
            answers = await gather(*calls)
        assert [answer.name for answer in answers if isinstance(answer, Problem)] == [name] * 10
        assert json.loads((await late)["body"])["revision"] == 1
    assert await tasks_of(connection, *owners) == 1


async def test_a_call_that_was_not_sent_in_time_was_certainly_not_applied(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    sent, waiting = users(2)
    async with pool(settings, database_pool_size=1, database_batch_size=1) as database_:
        await database_.run(WRITE, "opens the connection")
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            with limit(database_, 0.5):  # before the server's own timeout
                first, second = await gather(
                    database_.run(CREATE_TASK, *creation(sent)), database_.run(CREATE_TASK, *creation(waiting))
                )
            assert isinstance(first, Problem)
            assert isinstance(second, Problem)
            assert (first.name, second.name) == ("outcome-unknown", "unavailable")
        await create(database_, waiting)
    assert await tasks_of(connection, waiting) == 1


async def test_callers_that_leave_do_not_disturb_the_others(
    settings: Settings, connection: asyncpg.Connection, observer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    owners = users(10)
    async with pool(settings, database_pool_size=1, database_batch_size=6) as database_:
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            calls = [asyncio.create_task(create(database_, user_id, user_id)) for user_id in owners]
            await is_waiting(observer)
            for left in (0, 3, 7, 9):  # two of them are being executed, two wait
                calls[left].cancel()
            await asyncio.gather(*(calls[left] for left in (0, 3, 7, 9)), return_exceptions=True)
        for index in (1, 2, 4, 5, 6, 8):
            task = await calls[index]
            assert (task["user_id"], task["title"]) == (owners[index], owners[index])
    assert await tasks_of(connection, owners[7], owners[9]) == 0
    assert await tasks_of(connection, *owners) == 8


async def test_too_many_waiting_calls_are_refused_at_once(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MAX_QUEUED", 40)
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")  # or those under way would wait for the lock elsewhere
    async with pool(settings, database_pool_size=1, database_batch_size=5) as database_:
        async with gate(connection) as name:
            running = [asyncio.create_task(database_.run(GATE, name)) for _ in range(5)]
            await is_waiting(connection)
            waiting = [asyncio.create_task(database_.run(GATE, name)) for _ in range(40)]
            await asyncio.sleep(0)
            with pytest.raises(Problem) as caught:
                await database_.run(GATE, name)
            assert caught.value.name == "unavailable"
            assert caught.value.headers == {"Retry-After": "1"}
            assert not any(task.done() for task in running + waiting)
        await asyncio.gather(*running, *waiting)


class Unsorted(StatementQueue):
    def take(self, now: float) -> list[PendingCall]:
        calls = super().take(now)
        random.shuffle(calls)
        return calls


@pytest.fixture
async def overlapping(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Writes pause while they hold their locks: a single processor would else run whole batches one by one."""
    await connection.execute(
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(random() * 0.004); RETURN NULL; END';"
        "CREATE TRIGGER pause AFTER INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION pause()"
    )
    yield
    await connection.execute("DROP FUNCTION pause CASCADE")


async def deadlocks(connection: asyncpg.Connection) -> int:
    """How many there were in sessions that have ended: a running one may keep its count to itself for ten seconds."""
    await has_sessions(connection, 0)
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    count: int = await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return count


@pytest.mark.usefixtures("overlapping")
@pytest.mark.parametrize("queue", [Unsorted, StatementQueue])
async def test_batches_never_deadlock_because_they_are_sorted(
    settings: Settings,
    connection: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    queue: type[StatementQueue],
) -> None:
    """Every user is in most batches of two workers, and two statements write at the same time."""
    settings = replace(settings, database_url=database_url)  # of the owner, who may set this:
    monkeypatch.setattr(batching, "StatementQueue", queue)
    monkeypatch.setattr(connecting, "session_settings", lambda *_settings: {"deadlock_timeout": "10ms"})
    before = await deadlocks(connection)
    async with pool(settings, database_batch_size=10) as one, pool(settings, database_batch_size=10) as another:
        tasks = [await create(one, user_id) for user_id in users(20)]

        async def write(database_: Database, task: dict[str, Any]) -> None:
            for _ in range(10):
                await database_.run(CREATE_TASK, *creation(task["user_id"]))
                await database_.run(COMPLETE_TASK, task["user_id"], task["id"], None, None)

        writes = [write(database_, task) for task in tasks * 2 for database_ in (one, another)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
    found = await deadlocks(connection) - before
    assert (found > 0) is (queue is Unsorted)
    assert queue is Unsorted or not any(outcomes)


class Model:
    """What one user's tasks are, while this user does one thing after the other."""

    def __init__(self, database_: Database, user_id: str, everybody: list[dict[str, Any]]) -> None:
        self.run = database_.run
        self.user_id = user_id
        self.revision = 0
        self.tasks: dict[str, dict[str, Any]] = {}  # in the order of creation
        self.everybody = everybody

    def written(self, body: str, **members: object) -> dict[str, Any]:
        self.revision += 1
        task: dict[str, Any] = json.loads(body)
        expected = {**self.tasks.get(task["id"], {}), **members, "user_id": self.user_id, "revision": self.revision}
        assert task == {**task, **expected}
        self.tasks[task["id"]] = task
        return task

    async def create(self) -> None:
        title = str(uuid4())
        row = await self.run(CREATE_TASK, *creation(self.user_id, title))
        task = self.written(row["body"], title=title, completed=False)
        assert str(row["id"]) == task["id"]
        self.everybody.append(task)

    async def fail(self) -> None:
        with pytest.raises(asyncpg.CheckViolationError):
            await self.run(CREATE_TASK, *creation(self.user_id, ""))

    async def update(self) -> None:
        if task := random.choice([*self.tasks.values(), None]):
            title = str(uuid4())
            changes = OWNED["update_task"].arguments(user_id=self.user_id, id=task["id"], title=title)
            row = await self.run(UPDATE_TASK, *changes)
            self.written(row["body"], title=title, updated_at=json.loads(row["body"])["updated_at"])

    async def complete(self) -> None:
        if task := random.choice([*self.tasks.values(), None]):
            row = await self.run(COMPLETE_TASK, self.user_id, task["id"], None, None)
            completed = not task["completed"]
            self.written(row["body"], completed=completed, updated_at=json.loads(row["body"])["updated_at"])

    async def delete(self) -> None:
        if task := random.choice([*self.tasks.values(), None]):
            row = await self.run(DELETE_TASK, self.user_id, task["id"], None)
            assert row["deleted"]
            self.revision += 1
            del self.tasks[task["id"]]

    async def get(self) -> None:
        task = random.choice([*self.tasks.values(), *random.choices(self.everybody, k=3)])
        row = await self.run(GET_TASK, self.user_id, task["id"])
        expected = self.tasks.get(task["id"])
        assert (json.loads(row["task"][0]) if row["task"] else None) == expected

    async def list(self) -> None:
        row = await self.run(LIST_TASKS, self.user_id, 1000, None)
        assert json.loads(row["body"]) == list(self.tasks.values())[::-1]

    async def leave(self) -> None:
        call = asyncio.create_task(self.run(LIST_TASKS, self.user_id, 1000, None))
        await asyncio.sleep(random.choice([0, 0.001]))
        call.cancel()

    async def live(self, calls: int) -> None:
        await self.create()
        doings: list[Callable[[], Awaitable[None]]] = [
            self.create, self.update, self.complete, self.delete, self.get, self.get, self.list, self.list,
        ]  # fmt: skip
        for doing in random.choices([*doings * 6, self.fail, self.leave], k=calls - 2):
            await doing()
        await self.list()


async def test_ten_thousand_random_concurrent_calls_all_get_what_is_true(settings: Settings) -> None:
    everybody: list[dict[str, Any]] = []
    async with pool(settings) as database_:
        await asyncio.gather(*(Model(database_, user_id, everybody).live(50) for user_id in users(200)))


async def test_what_was_rolled_back_and_not_sent_again_in_time_was_certainly_not_applied(
    settings: Settings,
    connection: asyncpg.Connection,
    observer: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    locked, other = sorted(users(2))
    async with pool(settings, database_pool_size=1) as database_:
        await create(database_, locked)
        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", locked)
            calls = [asyncio.create_task(database_.run(CREATE_TASK, *creation(each))) for each in (locked, other)]
            process = await is_waiting(observer)
            [batch] = database_._queue._in_flight
            sent = list(batch.calls)
            assert all(call.sent for call in sent)
            await observer.execute("SELECT pg_cancel_backend($1)", process)  # which rolls both back
            await until(lambda: not sent[1].sent)
            await is_waiting(observer)  # the first one, sent again by itself
            for call in sent:
                call.deadline = 0
            answers = await gather(*calls)
    assert [answer.name for answer in answers if isinstance(answer, Problem)] == ["outcome-unknown", "unavailable"]
    assert await tasks_of(connection, other) == 0


async def close_while_calls_wait(settings: Settings, errors: list[dict[str, Any]]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    slow = Statement("test/slow", "SELECT $1::text, pg_sleep(0.02)::text", writes=False)
    async with pool(settings) as database_:
        await asyncio.gather(database_.run(TRANSACTION, "x"), database_.run(WRITE, "x"))
        calls = [asyncio.create_task(database_.run(slow, str(number))) for number in range(MAX_IN_FLIGHT)]
        await asyncio.sleep(0.01)
        calls.append(asyncio.create_task(database_.run(slow, "waits for them")))
        await asyncio.sleep(0.001)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        time.sleep(0.05)  # until it no longer has to wait  # noqa: ASYNC251


@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_nothing_goes_wrong_after_it_was_closed(
    settings: Settings, new_event_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    errors: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(close_while_calls_wait(settings, errors))
    assert errors == []


async def test_full_queues_of_one_statement_do_not_refuse_another(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MAX_QUEUED", 25)
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    async with pool(settings, database_pool_size=2, database_batch_size=5) as database_:
        async with gate(connection) as name:
            lists = [asyncio.create_task(database_.run(GATE, name)) for _ in range(20)]
            await is_waiting(connection)
            lists += [asyncio.create_task(database_.run(GATE, name)) for _ in range(10)]
            await until(lambda: database_.waiting_calls == batching.MAX_QUEUED)
            # The second one comes while the first one waits for its turn.
            created = await asyncio.gather(*(create(database_, user_id) for user_id in users(2)))
            assert [task["revision"] for task in created] == [1, 1]
        await asyncio.gather(*lists)


async def test_a_connection_that_cannot_be_opened_does_not_matter_while_another_is_there(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
    monkeypatch.setattr(sending, "RECONNECT_SECONDS", 0.2)
    tried = asyncio.Event()
    async with pool(settings, database_pool_size=2) as database_:
        await until(lambda: len(database_._senders._unconnected) == 2)  # or the first call would open both
        assert (await database_.run(TRANSACTION, "a"))["user_id"] == "a"

        async def refuse(_pool: asyncpg.Pool) -> None:
            tried.set()
            raise asyncpg.TooManyConnectionsError("test")

        monkeypatch.setattr(asyncpg.Pool, "_get_new_connection", refuse)
        async with gate(connection) as name:
            busy = asyncio.create_task(database_.run(GATE, name))
            await is_waiting(connection)
            waits = asyncio.create_task(database_.run(WRITE, "b"))  # tries to connect
            await until(tried.is_set)
        assert (await waits)["user_id"] == "b"
        await busy
        await until(
            lambda: len(database_._senders._idle) + len(database_._senders._unconnected) == 2
        )  # now both have nothing to do
        assert (await database_.run(WRITE, "c"))["user_id"] == "c"
