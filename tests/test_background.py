"""A background task that fails is in the log with its traceback, and ends its worker; gunicorn starts another one."""

import asyncio
import logging
from pathlib import Path

import asyncpg
import pytest

from tests.api import Client
from tests.processes import PATIENCE, answers, served, until, wait_until
from tests.test_batching import TRANSACTION, WRITE, gate, gather
from tests.test_database import is_waiting, pool
from todo_service.background import run_in_background
from todo_service.collector import Collector
from todo_service.database import Database
from todo_service.errors import Problem
from todo_service.operations.metrics import Metrics
from todo_service.settings import Settings
from todo_service.statements import Statement

pytestmark = pytest.mark.database

# Python runs a module of this name at its start. The function fails once, in the first worker that calls it.
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


def fail(*_arguments: object) -> None:
    raise KeyError("broken by the test")


async def has_failed(failures: list[str], name: str) -> None:
    """Waits for the failure of this background task, and takes it out."""
    await until(lambda: name in failures)
    failures.remove(name)


def assert_is_logged(caplog: pytest.LogCaptureFixture, name: str) -> None:
    [record] = [record for record in caplog.records if record.name == "todo_service.background"]
    assert record.levelno == logging.CRITICAL
    assert record.message == f"the background task '{name}' failed: this worker ends"
    assert "Traceback" in caplog.text
    assert "KeyError: 'broken by the test'" in caplog.text


@pytest.mark.parametrize(
    ("name", "module", "kind", "function"),
    [
        ("connecting", "reconnection", "Search", "_is_there"),
        ("sending", "collector", "Collector", "take"),
        ("sending", "collector", "Collector", "finish"),
        ("deadlines", "collector", "Collector", "overdue"),
        ("log and metrics", "operations.metrics", "Metrics", "add"),
    ],
)
def test_the_worker_of_a_task_that_fails_is_replaced(
    service_database_url: str, tmp_path: Path, name: str, module: str, kind: str, function: str
) -> None:
    code, trigger, log = tmp_path / "code", tmp_path / "trigger", tmp_path / "log"
    code.mkdir()
    text = SITECUSTOMIZE.format(module=module, kind=kind, function=function, trigger=str(trigger))
    (code / "sitecustomize.py").write_text(text)
    trigger.touch()
    with served(log, DATABASE_URL=service_database_url, PYTHONPATH=str(code)) as (process, url):
        wait_until(lambda: answers(f"{url}/health/ready") and log.read_text().count("Booting worker") == 2)
        assert process.poll() is None
    lines = [line for line in log.read_text().splitlines() if "level=critical" in line]
    assert len(lines) == 1
    assert f"the background task '{name}' failed: this worker ends" in lines[0]
    assert "Traceback" in lines[0]
    assert "KeyError: 'broken by the test'" in lines[0]


async def test_a_task_that_is_cancelled_ends_nothing(failures: list[str]) -> None:
    task = run_in_background(asyncio.sleep(60), "test")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert failures == []


async def test_a_task_that_returns_has_failed(failures: list[str], caplog: pytest.LogCaptureFixture) -> None:
    run_in_background(asyncio.sleep(0), "test")
    await has_failed(failures, "test")
    assert "it returned, which it never should" in caplog.text


async def test_an_error_while_calls_are_taken_is_what_they_get_and_later_ones_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, failures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(PATIENCE), pool(settings, database_pool_size=1, database_timeout=300) as database_:
        assert await database_.run(TRANSACTION, "x")
        monkeypatch.setattr(Collector, "take", fail)
        answers_ = await gather(database_.run(TRANSACTION, "a"), database_.run(WRITE, "b"))
        assert [type(answer) for answer in answers_] == [KeyError, KeyError]
        await has_failed(failures, "sending")
        with pytest.raises(Problem) as refused:
            await database_.run(TRANSACTION, "later")
    assert refused.value.name == "unavailable"
    assert_is_logged(caplog, "sending")


async def test_an_error_while_answers_are_given_is_what_the_callers_get(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, failures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(PATIENCE), pool(settings, database_pool_size=1, database_timeout=300) as database_:
        assert await database_.run(TRANSACTION, "x")
        monkeypatch.setattr(Database, "_send", fail)
        [answer] = await gather(database_.run(WRITE, "a"))
        assert isinstance(answer, KeyError)
        await has_failed(failures, "sending")
    assert_is_logged(caplog, "sending")


async def test_a_mistake_is_logged_also_when_its_caller_has_left(
    settings: Settings, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    sql = "SELECT generate_series(1, 2), pg_advisory_xact_lock_shared(hashtext($1::text))::text"
    async with pool(settings, database_pool_size=1) as database_:
        async with gate(connection) as name:
            call = asyncio.create_task(database_.run(Statement("test/two_rows", sql, writes=False), name))
            await is_waiting(connection)
            call.cancel()
        await until(lambda: "test/two_rows failed" in caplog.text)
    assert "RowCountError: test/two_rows gave 2 rows to 1 calls" in caplog.text
    assert "Traceback" in caplog.text


async def test_without_deadlines_no_call_waits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, failures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(PATIENCE), pool(settings, database_url="postgres://127.0.0.1:1/none") as database_:
        monkeypatch.setattr(Collector, "overdue", fail)
        await has_failed(failures, "deadlines")
        with pytest.raises(Problem):
            await database_.run(WRITE, "a")
    assert_is_logged(caplog, "deadlines")


async def test_a_service_whose_log_and_metrics_fail_ends(
    client: Client, monkeypatch: pytest.MonkeyPatch, failures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "add", fail)
        await has_failed(failures, "log and metrics")
    assert (await client.get("/health")).status == 200
    assert_is_logged(caplog, "log and metrics")
