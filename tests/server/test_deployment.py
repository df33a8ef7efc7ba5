"""The service as a platform runs it: the Procfile, settings from the environment, and signals."""

import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from aiohttp import ClientSession

from tests.support.database import wait_for_blocked_session
from tests.support.processes import SECRET, TEST_TIMEOUT, UP_TO_DATE, answers, run_command, served, wait_until_blocking
from tests.support.service_role import grant_service
from todo_service.auth.tokens import sign_token

pytestmark = pytest.mark.database

ROOT = Path(__file__).parents[2]
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
ALICE = {"Authorization": f"Bearer {sign_token(SECRET, 'alice', days=1)}"}


def test_the_procfile_migrates_and_serves() -> None:
    assert PROCFILE == {"release": "todo-service migrate", "web": "todo-service serve"}


@pytest.fixture
async def migrated_database(empty_database: str) -> str:
    for expected in ("applied 0001_create_users_and_tasks.sql", UP_TO_DATE):
        result = run_command("migrate", DATABASE_URL=empty_database)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines()[0] == expected
    return await grant_service(empty_database)


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
async def test_tasks_survive_a_restart_of_the_service(migrated_database: str, tmp_path: Path, workers: str) -> None:
    task: dict[str, Any]
    with served(tmp_path / "log", DATABASE_URL=migrated_database, WEB_CONCURRENCY=workers) as (process, url):
        assert len(psutil.Process(process.pid).children()) == int(workers)
        async with ClientSession(url, headers=ALICE) as session:
            task = await (await session.post("/api/tasks", json={"title": "Buy milk"})).json()
    with served(tmp_path / "log", DATABASE_URL=migrated_database) as (process, url):
        async with ClientSession(url, headers=ALICE) as session:
            assert await (await session.get("/api/tasks")).json() == [task]
            response = await session.get("/api/tasks", headers={"Authorization": "Bearer " + "x" * 30_000})
            assert response.status == 401
    log = (tmp_path / "log").read_text()
    assert "Warning" not in log
    assert SECRET not in log


@pytest.mark.slow
def test_a_restart_by_sighup_replaces_the_workers_and_logs_no_errors(migrated_database: str, tmp_path: Path) -> None:
    with served(tmp_path / "log", DATABASE_URL=migrated_database, WEB_CONCURRENCY="2") as (process, url):
        before = psutil.Process(process.pid).children()
        assert answers(f"{url}/health/ready")
        process.send_signal(signal.SIGHUP)
        wait_until_blocking(lambda: not any(worker.is_running() for worker in before))
        assert answers(f"{url}/health/ready")
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) > 10
    for line in lines:
        assert re.match(r"time=\S+ level=info ", line), line
        assert not re.search("err|fail|exception|traceback|warn|critical", line, re.IGNORECASE), line


@pytest.mark.slow
async def test_in_flight_requests_finish_when_all_processes_get_sigterm(migrated_database: str, tmp_path: Path) -> None:
    with served(tmp_path / "log", DATABASE_URL=migrated_database, WEB_CONCURRENCY="2") as (process, url):
        processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        connection, observer = [await asyncpg.connect(migrated_database) for _ in range(2)]
        async with ClientSession(url, headers=ALICE) as session:
            await session.post("/api/tasks", json={"title": "One"})
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SELECT FROM users FOR UPDATE")
            request = asyncio.create_task(session.post("/api/tasks", json={"title": "Two"}))
            await wait_for_blocked_session(observer)
            for _ in range(2):
                for each in processes:
                    each.send_signal(signal.SIGTERM)
            await transaction.rollback()
            response = await request
            assert response.status == 201
            assert (await response.json())["title"] == "Two"
        await connection.close()
        await observer.close()
        assert process.wait(timeout=TEST_TIMEOUT) == 0
        assert not [each for each in processes if each.is_running()]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP])
async def test_a_request_whose_body_arrives_after_the_signal_is_answered(
    migrated_database: str, tmp_path: Path, stop: signal.Signals
) -> None:
    with served(tmp_path / "log", DATABASE_URL=migrated_database) as (process, url):
        workers = psutil.Process(process.pid).children()
        _, host, port = url.replace("//", "").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: {ALICE['Authorization']}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 14\r\n\r\n".encode() + b'{"titl')
        await writer.drain()
        async with ClientSession(url) as session:  # the response shows that the service has read the data above
            await session.get("/health")
        process.send_signal(stop)
        if stop == signal.SIGHUP:
            wait_until_blocking(lambda: len(psutil.Process(process.pid).children()) > len(workers))
        else:
            wait_until_blocking(lambda: not answers(f"{url}/health"))
        writer.write(b'e": "x"}')
        answer = await asyncio.wait_for(reader.read(), timeout=TEST_TIMEOUT)
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert stop == signal.SIGHUP or b"Connection: close" in answer
        writer.close()
        wait_until_blocking(lambda: not any(worker.is_running() for worker in workers))


@pytest.mark.slow
async def test_a_service_without_a_database_starts_and_is_not_ready(tmp_path: Path) -> None:
    with served(tmp_path / "log", DATABASE_URL="postgres://127.0.0.1:1/none") as (_, url):
        async with ClientSession(url) as session:
            response = await session.get("/health/ready")
            assert response.status == 503
            assert (await response.json())["type"] == "/problems#unavailable"


def test_the_gunicorn_master_imports_only_its_configuration_the_worker_and_logfmt() -> None:
    """SIGHUP reloads all modules except those that the master imports."""
    code = (
        "import sys, todo_service.server.gunicorn_config, todo_service.server.worker\n"
        "print(*sorted(name for name in sys.modules if name.startswith('todo_service')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=TEST_TIMEOUT)
    assert ran.stdout.split() == [
        "todo_service",
        "todo_service.observability",
        "todo_service.observability.logfmt",
        "todo_service.server",
        "todo_service.server.gunicorn_config",
        "todo_service.server.worker",
    ]
