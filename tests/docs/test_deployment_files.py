"""docs/deployment: the files for platforms and servers name commands, settings, routes and files that exist."""

import asyncio
import base64
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from aiohttp import ClientSession

from tests.support.api import TASKS
from tests.support.external_programs import require
from tests.support.pages import page
from tests.support.processes import COMMAND, SECRET, TEST_TIMEOUT, environment, free_port, service, wait_until
from todo_service.app import API, SUPPORT
from todo_service.auth.tokens import sign_token
from todo_service.server.command import GRACE_SECONDS
from todo_service.server.runner import SERVER_OPTIONS
from todo_service.settings import VARIABLES, read_settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "deployment"
README = page("docs/deployment/README.md")
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
PARSERS = {variable.name: variable.parse for variable in VARIABLES.values() if not variable.internal}
PUBLIC_PATHS = {route.path for route in (*API, *SUPPORT) if route.public}
STOP_SECONDS = GRACE_SECONDS + 2 * SERVER_OPTIONS["shutdown_timeout"]
GENERATED = base64.b64encode(bytes(32)).decode()
"""A value like those that Render generates."""
UNITS = ("todo-service.service", "todo-service-migrate.service")


def read_variables(name: str) -> dict[str, str]:
    """The variables of an environment file for systemd."""
    lines = (FOLDER / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def read_unit(name: str) -> dict[str, str]:
    """The section [Service] of a unit."""
    parser = ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(FOLDER / name)
    return dict(parser["Service"])


def arguments(instruction: str) -> list[str]:
    """The arguments of each instruction of this kind in the Dockerfile."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    return [line.removeprefix(f"{instruction} ") for line in lines if line.startswith(f"{instruction} ")]


def test_the_readme_links_to_each_file() -> None:
    linked = {path for path, _ in README.links if path and "/" not in path}
    assert linked == {path.name for path in FOLDER.iterdir()} - {"README.md"}


def test_the_blueprint_for_render_migrates_and_serves() -> None:
    blueprint = yaml.safe_load((FOLDER / "render.yaml").read_text())
    [database], [web] = blueprint["databases"], blueprint["services"]
    assert web["buildCommand"] == "pip install -r requirements.txt"
    assert (web["preDeployCommand"], web["startCommand"]) == (PROCFILE["release"], PROCFILE["web"])
    assert web["healthCheckPath"] in PUBLIC_PATHS
    assert web["maxShutdownDelaySeconds"] >= STOP_SECONDS
    variables = {variable.pop("key"): variable for variable in web["envVars"]}
    expected = {"fromDatabase": {"name": database["name"], "property": "connectionString"}}
    assert variables.pop("DATABASE_URL") == expected
    assert "JWT_SECRET" in variables
    for name, variable in variables.items():
        PARSERS[name](GENERATED if variable == {"generateValue": True} else variable["value"])


def test_the_configuration_for_fly_migrates_and_serves() -> None:
    fly: dict[str, Any] = tomllib.loads((FOLDER / "fly.toml").read_text())
    assert fly["deploy"]["release_command"] == PROCFILE["release"]
    assert (FOLDER / fly["build"]["dockerfile"]).exists()
    assert fly["kill_signal"] == "SIGTERM"
    assert fly["kill_timeout"] >= STOP_SECONDS
    assert fly["http_service"]["internal_port"] == int(fly["env"]["PORT"])
    assert {check["path"] for check in fly["http_service"]["checks"]} <= PUBLIC_PATHS
    for name, value in fly["env"].items():
        PARSERS[name](value)


def test_the_dockerfile_installs_the_pinned_packages_and_serves_without_root() -> None:
    assert arguments("FROM") == [f"python:{(ROOT / '.python-version').read_text().strip()}-slim"]
    copied = [name for copy in arguments("COPY") for name in copy.split()[:-1]]
    assert set(copied) == {
        "requirements.txt",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "setup.cfg",
        "sql",
        "todo_service",
    }
    assert all((ROOT / name).exists() for name in copied)
    assert arguments("CMD") == [str(shlex.split(PROCFILE["web"])).replace("'", '"')]
    [user] = arguments("USER")
    assert any(run.startswith("useradd ") and run.endswith(f" {user}") for run in arguments("RUN"))


def test_the_environment_files_have_valid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    migrate, serve = read_variables("migrate.env.example"), read_variables("service.env.example")
    assert migrate.keys() == {"DATABASE_URL"}
    assert serve.keys() <= PARSERS.keys()
    for name, value in serve.items():
        monkeypatch.setenv(name, re.sub(r"\b(PASSWORD|SECRET|TOKEN)\b", "x" * 32, value))
    assert read_settings().host == "127.0.0.1"
    monkeypatch.setenv("DATABASE_URL", migrate["DATABASE_URL"])
    read_settings("database_url")


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = require("systemd-analyze")
    for name in UNITS:
        unit = (FOLDER / name).read_text()
        command = read_unit(name)["ExecStart"].split()[0]
        (tmp_path / name).write_text(unit.replace(command, shutil.which("true") or ""))
    checked = subprocess.run(
        [analyze, "verify", "--man=no", *(tmp_path / name for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_units_run_the_commands_of_the_procfile_and_give_them_time_to_stop() -> None:
    assert int(read_unit(UNITS[0])["TimeoutStopSec"]) >= STOP_SECONDS
    for name, process in zip(UNITS, ("web", "release"), strict=True):
        command = read_unit(name)["ExecStart"]
        assert command == f"/opt/todo-service/venv/bin/{PROCFILE[process]}"
        assert f"{Path(command.split()[0]).parent}/pip install" in README.text


@pytest.mark.slow
@pytest.mark.database
async def test_the_unit_notifies_systemd_reloads_and_stops(service_database_url: str, tmp_path: Path) -> None:
    """Does what systemd does with ExecStart, Type=notify, ExecReload, KillSignal and TimeoutStopSec."""
    unit = read_unit("todo-service.service")
    settings = read_variables("service.env.example") | service(DATABASE_URL=service_database_url)
    settings |= {"JWT_SECRET": SECRET, "METRICS_TOKEN": "x" * 32, "PORT": str(free_port())}
    headers = {"Authorization": f"Bearer {sign_token(SECRET, 'alice', days=1)}"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications, (tmp_path / "log").open("wb") as log:
        notifications.bind(str(tmp_path / "notify"))
        notifications.settimeout(TEST_TIMEOUT)
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *unit["ExecStart"].split()[1:],
            env=environment(**settings, NOTIFY_SOCKET=str(tmp_path / "notify")),
            stderr=log,
        )
        try:
            assert (await asyncio.to_thread(notifications.recv, 1024)).startswith(b"READY=1")
            main = psutil.Process(process.pid)
            await wait_until(lambda: len(main.children()) == int(settings["WEB_CONCURRENCY"]))
            old = main.children()
            async with ClientSession(f"http://127.0.0.1:{settings['PORT']}", headers=headers) as session:

                async def use() -> None:
                    while any(worker.is_running() for worker in old):
                        async with session.get(TASKS) as response:
                            assert response.status == 200

                async with asyncio.timeout(TEST_TIMEOUT), asyncio.TaskGroup() as group:
                    for _ in range(4):
                        group.create_task(use())
                    kill, *reload = unit["ExecReload"].replace("$MAINPID", str(process.pid)).split()
                    reloading = await asyncio.create_subprocess_exec(require(kill), *reload)
                    assert await reloading.wait() == 0
            process.send_signal(signal.Signals[unit["KillSignal"]])
            async with asyncio.timeout(int(unit["TimeoutStopSec"])):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
