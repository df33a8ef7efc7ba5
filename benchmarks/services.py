"""The services: starts and stops them, and sends them single requests."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil

from benchmarks import BenchmarkError
from benchmarks.load import READERS, token
from todo_service.embedded.processes import run_child
from todo_service.settings import Settings

OURS, PLAIN_POOL = "todo-service", "plain pool of 16"
START_SECONDS = 30.0
STOP = ((signal.SIGTERM, 5.0),)


@dataclass(frozen=True)
class Service:
    """A service with `pool` database connections for each process. `{port}` in the command is replaced."""

    name: str
    command: Sequence[str]
    pool: int
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class RunningService:
    """A service that accepts requests."""

    name: str
    address: str
    process: subprocess.Popen[bytes]

    def ask(self, method: str, path: str, signed: str, body: str | None = None) -> tuple[int, Any]:
        """Sends a request with a token. Returns the status, and the JSON of a success."""
        headers = {"Authorization": f"Bearer {signed}", "Content-Type": "application/json"}
        data = body.encode() if body else None
        request = Request(self.address + path, data, headers, method=method)  # noqa: S310 - it is HTTP
        try:
            with urlopen(request, timeout=10) as response:  # noqa: S310 - it is HTTP
                return response.status, json.load(response)
        except HTTPError as error:
            return error.code, None

    def memory(self) -> float:
        """The resident set of its largest process, in MB."""
        parent = psutil.Process(self.process.pid)
        return float(max(each.memory_info().rss for each in (parent, *parent.children(recursive=True)))) / 1e6


def ours(processes: int, environment: Mapping[str, str]) -> Service:
    """This service, started as in a deployment, with its default settings except for `environment`."""
    variables = {"WEB_CONCURRENCY": str(processes), **environment}
    return Service(OURS, [sys.executable, "-m", "todo_service", "serve"], Settings.database_pool_size, variables)


def plain_pool(processes: int, environment: Mapping[str, str]) -> Service:
    """This service without batches. gunicorn runs plain_pool.py with the worker class of `todo-service serve`."""
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "benchmarks.plain_pool:create_runner"]
    command += ["--bind", "127.0.0.1:{port}", "--workers", str(processes)]
    command += ["--worker-class", "todo_service.server.worker.Worker"]
    command += ["--config", "python:todo_service.server.gunicorn_config"]
    return Service(PLAIN_POOL, command, 16, environment)


def checkout(service: Service, folder: Path) -> Service:
    """This service from another checkout. Raises BenchmarkError if the folder has no checkout."""
    if not (folder / "todo_service").is_dir() or not (folder / "sql" / "migrations").is_dir():
        raise BenchmarkError(f"{folder} is not a checkout of this service.")
    return replace(service, name=str(folder), folder=folder)  # the working directory, from which `python -m` imports


@contextmanager
def run_service(service: Service, database_url: str, secret: str) -> Iterator[RunningService]:
    """Starts a service, waits until it responds, and stops it at the end. Raises BenchmarkError."""
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    environment |= {"DATABASE_URL": database_url, "DATABASE_POOL_SIZE": str(service.pool), "JWT_SECRET": secret}
    environment |= {"HOST": "127.0.0.1", "PORT": str(port), **service.environment}
    command = [word.replace("{port}", str(port)) for word in service.command]
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as metrics:
        environment["PROMETHEUS_MULTIPROC_DIR"] = metrics  # for the plain pool: `todo-service serve` makes its own
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        with run_child(command, STOP, env=environment, cwd=service.folder, **streams) as process:
            running = RunningService(service.name, f"http://127.0.0.1:{port}", process)
            if not _answers(running, token(secret, READERS[0])):
                log.seek(0)
                raise BenchmarkError(f"{service.name} does not answer. {log.read().decode(errors='replace')[-2000:]}")
            yield running


def _answers(service: RunningService, signed: str) -> bool:
    """Waits at most START_SECONDS until a service responds, and only while it runs."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and service.process.poll() is None:
        with suppress(OSError):
            if service.ask("GET", "/api/tasks", signed)[0] == 200:
                return True
        time.sleep(0.05)
    return False


def free_port() -> int:
    """A port of this machine on which no program listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
