"""The command `todo-service` in its own process and environment, free ports, and waiting."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

from tests.support.pgbouncer import POOLER_SETTINGS, pooled
from todo_service.__main__ import main
from todo_service.database.migrations import Migration, read_migrations
from todo_service.settings import VARIABLES

COMMAND = str(Path(sys.executable).with_name("todo-service"))
SECRET = "a secret that is certainly long enough for tests"
TEST_TIMEOUT = 120
"""A hanging test fails after this number of seconds. No test takes that long, even on a busy machine."""

PORTS = range(20_000, 32_768)
"""Ports below the ephemeral ones, so that no outgoing connection takes a port between two uses."""

SETTING_VARIABLES = {variable for known in VARIABLES.values() for variable in (known.name, *known.aliases)} | {"DYNO"}


def up_to_date(newest: Migration) -> str:
    """The output of `migrate` if there is no migration to apply."""
    return f"the database is up to date (newest migration: {newest.name})"


UP_TO_DATE = up_to_date(read_migrations()[-1])


def environment(**variables: str) -> dict[str, str]:
    """The environment of the tests without settings of the service, and with these variables."""
    return {name: value for name, value in os.environ.items() if name not in SETTING_VARIABLES} | variables


def service(**variables: str) -> dict[str, str]:
    """The settings of a service, changed to use pgbouncer if the tests use it."""
    url = variables["DATABASE_URL"]
    return variables if pooled(url) == url else {**POOLER_SETTINGS, **variables, "DATABASE_URL": pooled(url)}


def run_command(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `todo-service` with these arguments and settings to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(**variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )


def refused_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error message of a command that must fail, called in this process: sentences on stderr, and no traceback."""
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("todo-service: ")
    assert captured.err.endswith(".\n")
    return captured.err


def free_port() -> int:
    """An unused port of 127.0.0.1."""
    while True:
        port = secrets.choice(PORTS)  # Hypothesis gives `random` the same seed in all processes
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def wait_until_blocking(condition: Callable[[], bool], seconds: float = TEST_TIMEOUT) -> None:
    """Waits until the condition is true. Fails if it is still false after this number of seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.02)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Like `wait_until_blocking`, but lets other tasks run."""
    async with asyncio.timeout(TEST_TIMEOUT):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


def answers(url: str) -> bool:
    """Whether a GET of this URL gets 200."""
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


@contextmanager
def served(log: Path, code: str = "", **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs `todo-service serve` as it is deployed, and yields its process and URL when all its workers are ready.

    `code` is a folder with the code of another release.
    """
    settings = {"HOST": "127.0.0.1", "PORT": str(free_port()), "JWT_SECRET": SECRET, **service(**variables)}
    settings |= {"PYTHONPATH": code} if code else {}
    url = f"http://127.0.0.1:{settings['PORT']}"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [COMMAND, "serve"], env=environment(**settings), cwd=code or None, stdout=output, stderr=output
        )
    workers = int(settings.get("WEB_CONCURRENCY", "1"))
    try:
        wait_until_blocking(lambda: (_has(process, workers) and answers(f"{url}/health")) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield process, url
    finally:
        process.terminate()
        process.wait(timeout=TEST_TIMEOUT)


def _has(process: subprocess.Popen[bytes], workers: int) -> bool:
    """Whether gunicorn has started all workers: the first may answer before the last is started."""
    try:
        return len(psutil.Process(process.pid).children()) == workers
    except psutil.NoSuchProcess:
        return False
