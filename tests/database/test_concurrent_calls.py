"""Many concurrent calls: their batches don't deadlock, and each call returns the correct row."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.support.calls import create, creation, users
from tests.support.database import open_database, wait_for_session_count
from tests.support.sql_files import USER_STATEMENTS
from todo_service.database import batching, connecting
from todo_service.database.batching import StatementQueue
from todo_service.database.calls import PendingCall
from todo_service.database.database import Database
from todo_service.handlers.tasks import COMPLETE_TASK, CREATE_TASK, DELETE_TASK, GET_TASK, LIST_TASKS, UPDATE_TASK
from todo_service.settings import Settings

pytestmark = pytest.mark.database


class UnsortedQueue(StatementQueue):
    def take(self, now: float) -> list[PendingCall]:
        calls = super().take(now)
        random.shuffle(calls)
        return calls


@pytest.fixture
async def overlapping(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Makes writes pause while they hold their locks. So batches overlap even on a single processor."""
    await connection.execute(
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(random() * 0.004); RETURN NULL; END';"
        "CREATE TRIGGER pause AFTER INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION pause()"
    )
    yield
    await connection.execute("DROP FUNCTION pause CASCADE")


async def deadlocks(connection: asyncpg.Connection) -> int:
    """The number of deadlocks so far. Waits until all sessions have ended, because they report their counts late."""
    await wait_for_session_count(connection, 0)
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    count: int = await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return count


@pytest.mark.usefixtures("overlapping")
@pytest.mark.parametrize("queue", [UnsortedQueue, StatementQueue])
async def test_batches_deadlock_only_if_they_are_not_sorted_by_user(
    settings: Settings,
    connection: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    queue: type[StatementQueue],
) -> None:
    """Two services write with two statements at the same time. Most batches have calls of all users."""
    settings = replace(settings, database_url=database_url)  # the service's role may not set deadlock_timeout
    monkeypatch.setattr(batching, "StatementQueue", queue)
    monkeypatch.setattr(connecting, "session_settings", lambda *_settings: {"deadlock_timeout": "10ms"})
    before = await deadlocks(connection)
    async with (
        open_database(settings, database_batch_size=10) as one,
        open_database(settings, database_batch_size=10) as another,
    ):
        tasks = [await create(one, user_id) for user_id in users(20)]

        async def write(database: Database, task: dict[str, Any]) -> None:
            for _ in range(10):
                await database.run(CREATE_TASK, *creation(task["user_id"]))
                await database.run(COMPLETE_TASK, task["user_id"], task["id"], None, None)

        writes = [write(database, task) for task in tasks * 2 for database in (one, another)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
    occurred = await deadlocks(connection) - before
    assert (occurred > 0) is (queue is UnsortedQueue)
    assert queue is UnsortedQueue or not any(outcomes)


class Model:
    """The expected tasks of one user, who sends one call after the other."""

    def __init__(self, database: Database, user_id: str, all_tasks: list[dict[str, Any]]) -> None:
        self.run = database.run
        self.user_id = user_id
        self.revision = 0
        self.tasks: dict[str, dict[str, Any]] = {}  # in the order of creation
        self.all_tasks = all_tasks

    def check_write(self, body: str, **members: object) -> dict[str, Any]:
        """Checks the task that a write returned, and stores it as the expected one."""
        self.revision += 1
        task: dict[str, Any] = json.loads(body)
        expected = {**self.tasks.get(task["id"], {}), **members, "user_id": self.user_id, "revision": self.revision}
        assert task == {**task, **expected}
        self.tasks[task["id"]] = task
        return task

    async def create(self) -> None:
        title = str(uuid4())
        row = await self.run(CREATE_TASK, *creation(self.user_id, title))
        task = self.check_write(row["body"], title=title, completed=False)
        assert str(row["id"]) == task["id"]
        self.all_tasks.append(task)

    async def fail(self) -> None:
        with pytest.raises(asyncpg.CheckViolationError):
            await self.run(CREATE_TASK, *creation(self.user_id, ""))

    async def update(self) -> None:
        if task := random.choice([*self.tasks.values(), None]):
            title = str(uuid4())
            changes = USER_STATEMENTS["update_task"].arguments(user_id=self.user_id, id=task["id"], title=title)
            row = await self.run(UPDATE_TASK, *changes)
            self.check_write(row["body"], title=title, updated_at=json.loads(row["body"])["updated_at"])

    async def complete(self) -> None:
        if task := random.choice([*self.tasks.values(), None]):
            row = await self.run(COMPLETE_TASK, self.user_id, task["id"], None, None)
            completed = not task["completed"]
            self.check_write(row["body"], completed=completed, updated_at=json.loads(row["body"])["updated_at"])

    async def delete(self) -> None:
        if task := random.choice([*self.tasks.values(), None]):
            row = await self.run(DELETE_TASK, self.user_id, task["id"], None)
            assert row["deleted"]
            self.revision += 1
            del self.tasks[task["id"]]

    async def get(self) -> None:
        task = random.choice([*self.tasks.values(), *random.choices(self.all_tasks, k=3)])
        row = await self.run(GET_TASK, self.user_id, task["id"])
        expected = self.tasks.get(task["id"])
        assert (json.loads(row["task"][0]) if row["task"] else None) == expected

    async def list(self) -> None:
        row = await self.run(LIST_TASKS, self.user_id, 1000, None)
        assert json.loads(row["body"]) == list(self.tasks.values())[::-1]

    async def cancel(self) -> None:
        """Cancels a call at a random moment."""
        call = asyncio.create_task(self.run(LIST_TASKS, self.user_id, 1000, None))
        await asyncio.sleep(random.choice([0, 0.001]))
        call.cancel()

    async def run_random(self, calls: int) -> None:
        await self.create()
        actions: list[Callable[[], Awaitable[None]]] = [
            self.create, self.update, self.complete, self.delete, self.get, self.get, self.list, self.list,
        ]  # fmt: skip
        for action in random.choices([*actions * 6, self.fail, self.cancel], k=calls - 2):
            await action()
        await self.list()


async def test_ten_thousand_random_concurrent_calls_return_correct_results(settings: Settings) -> None:
    all_tasks: list[dict[str, Any]] = []
    async with open_database(settings) as database:
        await asyncio.gather(*(Model(database, user_id, all_tasks).run_random(50) for user_id in users(200)))
