"""Background tasks: the service logs a failure with its traceback and ends the worker, which gunicorn replaces."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.support.api import Client
from tests.support.calls import READ, WRITE, advisory_lock, create, gather
from tests.support.database import open_database, wait_for_blocked_session
from tests.support.processes import TEST_TIMEOUT, answers, served, wait_until, wait_until_blocking
from todo_service.background import Background
from todo_service.database.batching import BatchQueue, DrainRate, StatementQueue
from todo_service.database.locked_users import LockedUsers
from todo_service.database.sending import Senders
from todo_service.database.statements import Statement
from todo_service.observability.metrics import Metrics
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.database

# Python imports the module sitecustomize when it starts. This one makes a function fail once, in the first worker that
# calls the function.
SITECUSTOMIZE = """
from pathlib import Path
from todo_service.{module} import {kind}

original = {kind}.{function}

def fail_once(*arguments):
    try:
        Path({trigger!r}).unlink()
    except FileNotFoundError:
        return original(*arguments)
    raise KeyError("broken by the test")

{kind}.{function} = fail_once
"""


def fail(*_arguments: object, **_options: object) -> None:
    raise KeyError("broken by the test")


async def expect_failure(background_failures: list[str], name: str) -> None:
    """Waits for the failure of this background task, and removes it from the list."""
    await wait_until(lambda: name in background_failures)
    background_failures.remove(name)


def assert_is_logged(caplog: pytest.LogCaptureFixture, name: str) -> None:
    [record] = [record for record in caplog.records if record.name == "todo_service.background"]
    assert record.levelno == logging.CRITICAL
    assert record.message == f"{name} failed in the background: this worker ends"
    assert "Traceback" in caplog.text
    assert "KeyError: 'broken by the test'" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module", "kind", "function"),
    [
        ("connecting", "database.connecting", "Reconnector", "_connect"),
        ("sending", "database.batching", "BatchQueue", "next_batch"),
        ("sending", "database.batching", "BatchQueue", "finish"),
        ("deadlines", "database.batching", "BatchQueue", "remove_expired"),
        ("log and metrics", "observability.metrics", "Metrics", "add"),
    ],
)
def test_a_worker_whose_background_task_fails_is_replaced(
    service_database_url: str, tmp_path: Path, name: str, module: str, kind: str, function: str
) -> None:
    code, trigger, log = tmp_path / "code", tmp_path / "trigger", tmp_path / "log"
    code.mkdir()
    text = SITECUSTOMIZE.format(module=module, kind=kind, function=function, trigger=str(trigger))
    (code / "sitecustomize.py").write_text(text)
    trigger.touch()
    with served(log, DATABASE_URL=service_database_url, PYTHONPATH=str(code)) as (process, url):
        wait_until_blocking(lambda: answers(f"{url}/health/ready") and log.read_text().count("Booting worker") == 2)
        assert process.poll() is None
    lines = [line for line in log.read_text().splitlines() if "level=critical" in line]
    assert len(lines) == 1
    assert f"{name} failed in the background: this worker ends" in lines[0]
    assert "Traceback" in lines[0]
    assert "KeyError: 'broken by the test'" in lines[0]


async def test_a_background_task_that_is_stopped_has_not_failed(background_failures: list[str]) -> None:
    background = Background()
    background.start(asyncio.sleep(TEST_TIMEOUT), "test")
    await asyncio.sleep(0)
    await background.stop()
    assert background_failures == []


async def cancel_itself() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (partial(asyncio.sleep, 0), "it returned, but should run until stop()"),
        (cancel_itself, "it was cancelled, but not by stop()"),
    ],
)
async def test_a_background_task_that_ends_by_itself_has_failed(
    background_failures: list[str],
    caplog: pytest.LogCaptureFixture,
    work: Callable[[], Coroutine[None, None, None]],
    reason: str,
) -> None:
    background = Background()
    background.start(work(), "test")
    await expect_failure(background_failures, "test")
    assert reason in caplog.text


BROKEN = [
    (BatchQueue, "next_batch", "sending"),
    (StatementQueue, "take", "sending"),
    (BatchQueue, "finish", "sending"),
    (DrainRate, "count", "sending"),
    (Senders, "_send", "sending"),
    (BatchQueue, "add", "the queue"),
    (BatchQueue, "is_ready", "the queue"),
]


@pytest.mark.parametrize(("kind", "function", "name"), BROKEN)
async def test_an_error_in_sending_fails_waiting_calls_and_refuses_later_calls(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    background_failures: list[str],
    caplog: pytest.LogCaptureFixture,
    kind: type,
    function: str,
    name: str,
) -> None:
    """DATABASE_TIMEOUT is longer than this test may take, so no call may wait that long."""
    async with (
        asyncio.timeout(TEST_TIMEOUT),
        open_database(settings, database_pool_size=1, database_timeout=10 * TEST_TIMEOUT) as base,
    ):
        assert await base.run(READ, "x")
        monkeypatch.setattr(kind, function, fail)
        outcomes = await gather(*(base.run(statement, "a") for statement in (WRITE, READ, READ)))
        await expect_failure(background_failures, name)
        for outcome in outcomes:
            # If `finish` fails, the first call already has its result. All other calls get a problem.
            assert isinstance(outcome, asyncpg.Record | Problem)
            assert isinstance(outcome, asyncpg.Record) is (outcome is outcomes[0] and function == "finish")
        assert "internal-error" in {outcome.name for outcome in outcomes if isinstance(outcome, Problem)}
        with pytest.raises(Problem) as refused:
            await base.run(READ, "later")
        assert refused.value.name == "unavailable"
    assert_is_logged(caplog, name)


async def test_an_error_in_the_retry_for_a_locked_user_fails_the_call(
    settings: Settings,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    background_failures: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(LockedUsers, "next_call", fail)
    user_id = f"user-{uuid4()}"
    async with asyncio.timeout(TEST_TIMEOUT), open_database(settings, database_timeout=10 * TEST_TIMEOUT) as base:
        await create(base, user_id)
        async with connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id)
            with pytest.raises(Problem) as refused:
                await create(base, user_id)
        assert refused.value.name == "internal-error"
        await expect_failure(background_failures, "sending")
    assert_is_logged(caplog, "sending")


async def test_an_error_of_a_cancelled_call_is_logged_without_values_of_the_user(
    settings: Settings, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    sql = """
        WITH opened AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(hashtext($1::text)))
        INSERT INTO users (id, revision) SELECT repeat('personal ', 100), 1 FROM opened RETURNING id
    """
    async with open_database(settings, database_pool_size=1) as base:
        async with advisory_lock(connection) as name:
            call = asyncio.create_task(base.run(Statement("test/too_long", sql, writes=True), name))
            await wait_for_blocked_session(connection)
            call.cancel()
        await wait_until(lambda: "test/too_long failed" in caplog.text)
    assert "CheckViolationError" in caplog.text
    assert "Traceback" in caplog.text
    assert "personal" not in caplog.text


async def test_calls_are_refused_after_the_check_of_deadlines_has_failed(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    background_failures: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        asyncio.timeout(TEST_TIMEOUT),
        open_database(settings, database_url="postgres://127.0.0.1:1/none") as base,
    ):
        monkeypatch.setattr(BatchQueue, "remove_expired", fail)
        await expect_failure(background_failures, "deadlines")
        with pytest.raises(Problem):
            await base.run(WRITE, "a")
    assert_is_logged(caplog, "deadlines")


async def test_a_failure_of_log_and_metrics_ends_the_worker(
    client: Client, monkeypatch: pytest.MonkeyPatch, background_failures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "add", fail)
        await expect_failure(background_failures, "log and metrics")
    assert (await client.get("/health")).status == 200
    assert_is_logged(caplog, "log and metrics")
