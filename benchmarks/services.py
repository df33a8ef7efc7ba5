"""The services that are measured, ours and its peers: how each is started, asked and stopped."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil

from benchmarks.database import free_port
from benchmarks.load import LoadError
from todo_service.embedded.processes import run_child
from todo_service.settings import Settings

STOP = ((signal.SIGTERM, 5.0),)
PATIENCE = 30.0  # seconds until a service must answer

OURS = "todo-service"


@dataclass(frozen=True)
class Competitor:
    """A service that can be started: its command, and what it needs in the environment."""

    name: str
    command: Sequence[str]
    pool: int
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class Service:
    """A service that runs."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, token: str, body: str | None = None) -> tuple[int, Any]:
        """The status of one answer, and its JSON if it is a success."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers if body else {"Authorization": headers["Authorization"]})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if answer.status < 300 else None
        finally:
            connection.close()

    def memory(self) -> float:
        """The resident set of its largest process, in MB: the worker's, or one of them."""
        master = psutil.Process(self.process.pid)
        sizes = [process.memory_info().rss for process in (master, *master.children(recursive=True))]
        return float(max(sizes)) / 1e6


def ours(processes: int = 1, **environment: str) -> Competitor:
    """This service, as deployments start it, with its default settings but for those that are given."""
    variables = {"WEB_CONCURRENCY": str(processes), **environment}
    return Competitor(OURS, [sys.executable, "-m", "todo_service", "serve"], Settings.database_pool_size, variables)


def checkout(folder: Path, service: Competitor) -> Competitor:
    """What another checkout of this service makes of it. Raises LoadError when there is none."""
    folder = folder.resolve()
    if not (folder / "todo_service").is_dir():
        raise LoadError(f"{folder} is no checkout of this service: it has no folder todo_service.")
    return replace(service, name=str(folder), folder=folder)  # where Python looks for modules first


@contextmanager
def run_service(competitor: Competitor, database_url: str, secret: str, token: str) -> Iterator[Service]:
    """Starts a service, waits until it answers, and stops it in the end. Raises LoadError when it doesn't answer."""
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    environment |= {"DATABASE_URL": database_url, "DATABASE_POOL_SIZE": str(competitor.pool), "JWT_SECRET": secret}
    environment |= {"HOST": "127.0.0.1", "PORT": str(port), **competitor.environment}
    command = [word.replace("{port}", str(port)) for word in competitor.command]
    with (
        tempfile.TemporaryFile() as output,
        run_child(
            command,
            STOP,
            env=environment,
            cwd=competitor.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        service = Service(competitor.name, port, process)
        try:
            _wait(service, token)
        except LoadError as error:
            output.seek(0)
            raise LoadError(f"{error} {output.read().decode(errors='replace')[-2000:]}") from None
        yield service


def _wait(service: Service, token: str) -> None:
    deadline = time.monotonic() + PATIENCE
    answer: object = None
    while time.monotonic() < deadline and service.process.poll() is None:
        try:
            answer = service.ask("GET", "/api/tasks", token)
        except (OSError, HTTPException, ValueError) as error:
            answer = error
        else:
            if answer[0] == 200:
                return
        time.sleep(0.05)
    raise LoadError(f"{service.name} does not answer ({answer}).")
