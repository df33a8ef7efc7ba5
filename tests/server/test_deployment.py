"""The service as a platform runs it: the Procfile's lines, settings from the environment, and signals."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil
import pytest
from aiohttp import ClientSession
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.database import is_waiting
from tests.support.processes import PATIENCE, SECRET, UP_TO_DATE, answers, run, served, wait_until
from tests.support.service_role import grant_service
from todo_service.auth.tokens import sign_token

pytestmark = pytest.mark.database

ROOT = Path(__file__).parents[2]
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
PINNED = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
WHEEL_VERSION = "0.1.0+wheel"
ALICE = {"Authorization": f"Bearer {sign_token(SECRET, 'alice', days=1)}"}


def test_the_procfile_migrates_and_serves() -> None:
    assert PROCFILE == {"release": "todo-service migrate", "web": "todo-service serve"}


def test_requirements_are_pinned_and_end_with_the_service() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[-1] == "."
    assert len(PINNED) == len(lines) - 1


def requirements_of(package: str, extra: str = "") -> Iterator[str]:
    """The normalized names of all packages that this one needs here, in turn."""
    for line in metadata.requires(package) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield canonicalize_name(requirement.name)
            for each in requirement.extras or {""}:
                yield from requirements_of(requirement.name, each)


def test_all_that_the_service_needs_is_pinned() -> None:
    assert set(requirements_of("todo-service")) <= {canonicalize_name(name) for name in PINNED}


@pytest.mark.skipif(
    bool(os.environ.get("TEST_NEWEST")), reason="the newest versions are tested, not those of a deployment"
)
def test_the_versions_that_are_tested_are_those_of_a_deployment() -> None:
    assert {name: metadata.version(name) for name in PINNED} == PINNED


@pytest.fixture
async def migrated(empty_database: str) -> str:
    for expected in ("applied 0001_create_users_and_tasks.sql", UP_TO_DATE):
        result = run("migrate", DATABASE_URL=empty_database)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines()[0] == expected
    return await grant_service(empty_database)


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
async def test_a_deployed_service_keeps_tasks(migrated: str, tmp_path: Path, workers: str) -> None:
    task: dict[str, Any]
    with served(tmp_path / "log", DATABASE_URL=migrated, WEB_CONCURRENCY=workers) as (process, url):
        assert len(psutil.Process(process.pid).children()) == int(workers)
        async with ClientSession(url, headers=ALICE) as session:
            task = await (await session.post("/api/tasks", json={"title": "Buy milk"})).json()
    with served(tmp_path / "log", DATABASE_URL=migrated) as (process, url):
        async with ClientSession(url, headers=ALICE) as session:
            assert await (await session.get("/api/tasks")).json() == [task]
            response = await session.get("/api/tasks", headers={"Authorization": "Bearer " + "x" * 30_000})
            assert response.status == 401
    log = (tmp_path / "log").read_text()
    assert "Warning" not in log
    assert SECRET not in log


@pytest.mark.slow
def test_a_healthy_start_restart_and_stop_log_nothing_that_reads_like_a_failure(migrated: str, tmp_path: Path) -> None:
    with served(tmp_path / "log", DATABASE_URL=migrated, WEB_CONCURRENCY="2") as (process, url):
        before = psutil.Process(process.pid).children()
        assert answers(f"{url}/health/ready")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: not any(worker.is_running() for worker in before))
        assert answers(f"{url}/health/ready")
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) > 10
    for line in lines:
        assert re.match(r"time=\S+ level=info ", line), line
        assert not re.search("err|fail|exception|traceback|warn|critical", line, re.IGNORECASE), line


@pytest.mark.slow
async def test_requests_in_flight_finish_when_everything_is_told_to_stop(migrated: str, tmp_path: Path) -> None:
    with served(tmp_path / "log", DATABASE_URL=migrated, WEB_CONCURRENCY="2") as (process, url):
        everything = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        connection, observer = [await asyncpg.connect(migrated) for _ in range(2)]
        async with ClientSession(url, headers=ALICE) as session:
            await session.post("/api/tasks", json={"title": "One"})
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SELECT FROM users FOR UPDATE")
            request = asyncio.create_task(session.post("/api/tasks", json={"title": "Two"}))
            await is_waiting(observer)
            for _ in range(2):
                for each in everything:
                    each.send_signal(signal.SIGTERM)
            await transaction.rollback()
            response = await request
            assert response.status == 201
            assert (await response.json())["title"] == "Two"
        await connection.close()
        await observer.close()
        assert process.wait(timeout=PATIENCE) == 0
        assert not [each for each in everything if each.is_running()]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP])
async def test_a_body_that_is_still_arriving_is_waited_for(migrated: str, tmp_path: Path, stop: signal.Signals) -> None:
    with served(tmp_path / "log", DATABASE_URL=migrated) as (process, url):
        workers = psutil.Process(process.pid).children()
        _, host, port = url.replace("//", "").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: {ALICE['Authorization']}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 14\r\n\r\n".encode() + b'{"titl')
        await writer.drain()
        async with ClientSession(url) as session:  # whose answer shows that the service has read what came before it
            await session.get("/health")
        process.send_signal(stop)
        if stop == signal.SIGHUP:
            wait_until(lambda: len(psutil.Process(process.pid).children()) > len(workers))
        else:
            wait_until(lambda: not answers(f"{url}/health"))
        writer.write(b'e": "x"}')
        answer = await asyncio.wait_for(reader.read(), timeout=PATIENCE)
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert stop == signal.SIGHUP or b"Connection: close" in answer
        writer.close()
        wait_until(lambda: not any(worker.is_running() for worker in workers))


@pytest.mark.slow
async def test_a_hangup_restarts_the_workers_one_after_the_other(migrated: str, tmp_path: Path) -> None:
    with served(tmp_path / "log", DATABASE_URL=migrated) as (process, url):
        gunicorn = psutil.Process(process.pid)
        before = {child.pid for child in gunicorn.children()}
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: bool(pids := {child.pid for child in gunicorn.children()}) and not pids & before)
        assert answers(f"{url}/health/ready")


@pytest.mark.slow
async def test_a_service_without_its_database_starts_and_says_so(tmp_path: Path) -> None:
    with served(tmp_path / "log", DATABASE_URL="postgres://127.0.0.1:1/none") as (_, url):
        async with ClientSession(url) as session:
            response = await session.get("/health/ready")
            assert response.status == 503
            assert (await response.json())["type"] == "/problems#unavailable"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which a wheel of this checkout was installed. Its version tells it from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"  # setuptools leaves files behind, and takes them up the next time
    for name in ("todo_service", "sql"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    setup = re.sub("^version = .*", f"version = {WHEEL_VERSION}", (ROOT / "setup.cfg").read_text(), flags=re.MULTILINE)
    (source / "setup.cfg").write_text(setup)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True, timeout=600)
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "installed", wheel], check=True, timeout=600)
    return folder / "installed"


@pytest.mark.slow
def test_the_wheel_has_all_modules_statements_and_pages(installed: Path) -> None:
    package = {path.relative_to(ROOT) for path in (ROOT / "todo_service").rglob("*") if path.suffix not in ("", ".pyc")}
    statements = {"todo_service" / path.relative_to(ROOT) for path in (ROOT / "sql").rglob("*.sql")}
    packaged = [path for path in (installed / "todo_service").rglob("*") if path.suffix not in ("", ".pyc")]
    assert {path.relative_to(installed) for path in packaged} == package | statements


@pytest.mark.slow
async def test_the_wheel_migrates_and_serves(installed: Path, database_url: str, tmp_path: Path) -> None:
    """The commands, gunicorn's configuration, its worker and the runner, which are named in strings, come from it."""
    variables = {"PYTHONPATH": str(installed), "DATABASE_URL": database_url}
    assert run("migrate", cwd=tmp_path, **variables).stdout.splitlines() == [UP_TO_DATE]
    with served(tmp_path / "log", code=str(installed), DATABASE_URL=database_url, DOCS="off") as (_, url):
        async with ClientSession(url) as session:
            headers = {"Authorization": f"Bearer {sign_token(SECRET, str(uuid4()), days=1)}"}
            assert (await (await session.get("/")).json())["version"] == WHEEL_VERSION
            assert (await session.get("/problems")).status == 200
            created = await session.post("/api/tasks", headers=headers, json={"title": "Buy milk"})
            assert created.status == 201
            metrics = await (await session.get("/metrics")).text()
            assert (
                'todo_service_request_duration_seconds_count{method="POST",route="/api/tasks",status="201"} 1.0'
                in metrics
            )
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(line.startswith("time=") for line in lines)  # gunicorn's own, too


def test_gunicorns_master_loads_only_what_its_workers_may_keep_after_a_restart() -> None:
    code = (
        "import sys, todo_service.server.gunicorn_config, todo_service.server.worker\n"
        "print(*sorted(name for name in sys.modules if name.startswith('todo_service')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert ran.stdout.split() == [
        "todo_service",
        "todo_service.observability",
        "todo_service.observability.logfmt",
        "todo_service.server",
        "todo_service.server.gunicorn_config",
        "todo_service.server.worker",
    ]
