"""`todo-service serve --embedded`: its start, its banner, and its end."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import asyncpg
import psutil
import pytest

from tests.support.embedded_service import Service, serving
from tests.support.processes import TEST_TIMEOUT, environment, free_port, refused_command
from todo_service.__main__ import main
from todo_service.server.command import check_port
from todo_service.settings import SettingsError


@pytest.fixture(autouse=True)
def default_sighup() -> Iterator[None]:
    """Restores the default action of SIGHUP. If the tests run under nohup, the service would ignore SIGHUP, too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def port() -> int:
    return free_port()


def count_tasks(place: Path) -> object:
    async def count() -> object:
        runtime = (place / ".todo-service" / "runtime").readlink()
        connection = await asyncpg.connect(f"postgresql://postgres@/postgres?host={runtime}")
        try:
            return await connection.fetchval("SELECT count(*) FROM tasks")
        finally:
            await connection.close()

    return asyncio.run(count())


def assert_ended(process_tree: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(process_tree, timeout=TEST_TIMEOUT)
    assert alive == []


def assert_no_process_is_left_after_a_kill_of(killed: str, service: Service) -> None:
    """Kills the process `PostgreSQL` or `The service`. The log message begins with this name."""
    process_tree = service.process_tree()
    children = service.process.children()
    next(child for child in children if (child.name() == "postgres") == (killed == "PostgreSQL")).kill()
    assert service.process.wait(TEST_TIMEOUT) == 1
    assert_ended(process_tree)
    assert f"{killed} ended by itself" in service.output()
    assert "Traceback" not in service.output()


@pytest.mark.slow
def test_tasks_survive_a_kill_of_all_processes_or_of_the_supervisor_and_no_process_is_left(
    tmp_path: Path, port: int
) -> None:
    with serving(tmp_path, port) as service:
        output = service.wait_until_ready().output()
        assert f"\ntodo-service is ready on http://127.0.0.1:{port}\n" in output
        assert f"http://127.0.0.1:{port}/docs\n" in output
        assert "201" in service.curl().splitlines()[0]
        assert service.token_on_the_page(port) == service.token()
        process_tree = service.process_tree()
        assert len(process_tree) > 5
        for process in process_tree:
            with contextlib.suppress(psutil.NoSuchProcess):  # some processes end when the first is killed
                process.kill()
        assert_ended(process_tree)

    with serving(tmp_path, port) as service:  # all processes were killed before this start
        service.wait_until_ready()
        assert count_tasks(tmp_path) == 1
        assert "201" in service.curl().splitlines()[0]
        process_tree = service.process_tree()
        service.process.kill()
        assert_ended(process_tree)

    with serving(tmp_path, port) as service:  # only the supervisor was killed before this start
        service.wait_until_ready()
        assert count_tasks(tmp_path) == 2
        process_tree = service.process_tree()
        second = Service(tmp_path, port)
        assert second.process.wait(TEST_TIMEOUT) == 1
        service.process.terminate()
        service.process.terminate()
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(TEST_TIMEOUT) == 0
        assert_ended(process_tree)
    assert not (tmp_path / ".todo-service" / "runtime").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "stage"),
    [(signal.SIGINT, "postgres.new"), (signal.SIGTERM, "postgres/postmaster.pid"), (signal.SIGHUP, "postgres.log")],
)
def test_a_signal_during_the_start_ends_all_processes(
    tmp_path: Path, port: int, number: signal.Signals, stage: str
) -> None:
    late = () if number == signal.SIGHUP else (0.2, 0.6)  # SIGHUP doesn't stop a service that is already ready
    for seconds in (0.0, *late):  # seconds after the stage has begun
        with serving(tmp_path, port) as service:
            while not (tmp_path / ".todo-service" / stage).exists():
                assert service.process.poll() is None, service.output()
                time.sleep(0.005)
            time.sleep(seconds)
            process_tree = service.process_tree()
            for _ in range(3):
                service.process.send_signal(number)
            assert service.process.wait(TEST_TIMEOUT) == 0, service.output()
            assert_ended(process_tree)
            assert "Traceback" not in service.output()
        if "postmaster.pid" not in stage:  # each start creates this file, but the others only once
            shutil.rmtree(tmp_path / ".todo-service")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"HOST": "0.0.0.0"}, "HOST must be a loopback address like 127.0.0.1 with --embedded, not '0.0.0.0'"),
        ({"HOST": "127.0.0.1", "PORT": "0"}, "PORT must be a whole number from 1 to 65535"),
        ({"JWT_SECRET": "short"}, "JWT_SECRET must be at least 32 bytes long"),
    ],
)
def test_invalid_settings_are_refused_before_postgres_starts(
    tmp_path: Path,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("todo_service.embedded.serve.run_postgres", None)  # calling it would fail
    with mock.patch.dict(os.environ, environment(**{"PORT": str(port), **variables}), clear=True):
        assert main(["serve", "--embedded"]) == 1
    assert sentence in "".join(capsys.readouterr())
    assert not (tmp_path / ".todo-service" / "postgres").exists()


def test_serve_embedded_on_a_dyno_is_refused_and_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DYNO", "web.1")
    monkeypatch.chdir(tmp_path)
    assert refused_command(capsys, "serve", "--embedded") == (
        "todo-service: --embedded keeps data on this machine's disk, which a dyno loses: "
        "set DATABASE_URL and run `todo-service serve`.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_refused_before_postgres_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with serving(tmp_path, port) as service:
            assert service.process.wait(TEST_TIMEOUT) == 1
            assert f"Port {port} on 127.0.0.1 is in use: stop the other program" in service.output()
            assert "Traceback" not in service.output()
    assert not (tmp_path / ".todo-service" / "postgres").exists()


@pytest.mark.slow
def test_ipv6_and_a_given_secret_work_and_no_process_is_left_after_a_kill_of_postgres(
    tmp_path: Path, port: int
) -> None:
    host, name = "::1", "[::1]"
    try:
        check_port(host, port)
    except SettingsError:  # this machine has no IPv6
        host = name = "127.0.0.1"
    own = {"BETTER_AUTH_SECRET": "x" * 32, "JWT_AUDIENCE": "api", "DATABASE_URL": "postgres://nowhere/at-all"}
    with serving(tmp_path, port, HOST=host, **own) as service:
        assert "201" in service.wait_until_ready().curl().splitlines()[0]
        assert f"http://{name}:{port}/api/tasks" in service.output()
        assert "DATABASE_URL is set, but not used" in service.output()
        assert_no_process_is_left_after_a_kill_of("PostgreSQL", service)
    assert not (tmp_path / ".todo-service" / "secret").exists()


@pytest.mark.slow
def test_an_issuer_replaces_the_token_and_no_process_is_left_after_a_kill_of_the_service(
    tmp_path: Path, port: int
) -> None:
    with serving(tmp_path, port, JWT_JWKS_URL="http://127.0.0.1:9/keys", EMBEDDED_DOCS_TOKEN="mine") as service:
        output = service.wait_until_ready().output()
        assert "tokens come from the issuer with the keys at http://127.0.0.1:9/keys" in output
        assert service.token_on_the_page(port) == ""
        assert "curl " not in output
        assert_no_process_is_left_after_a_kill_of("The service", service)
