"""The command as a user runs it: in a process of its own, with an environment of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.pgbouncer import SETTINGS, pooled
from todo_service.migrations import Migration, read_migrations
from todo_service.settings import VARIABLES

COMMAND = str(Path(sys.executable).with_name("todo-service"))
SECRET = "a secret that is certainly long enough for tests"
FOREIGN = {variable for known in VARIABLES.values() for variable in (known.name, *known.aliases)} | {"DYNO"}


def up_to_date(newest: Migration) -> str:
    """The line of `migrate` when nothing had to be applied."""
    return f"the database is up to date: {newest.name} is applied, and all before it"


UP_TO_DATE = up_to_date(read_migrations()[-1])


def environment(**variables: str) -> dict[str, str]:
    """The environment of these tests with only the settings that are given."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN} | variables


def service(**variables: str) -> dict[str, str]:
    """The settings of a service that is to go through pgbouncer when the tests do."""
    url = variables["DATABASE_URL"]
    return variables if pooled(url) == url else {**SETTINGS, **variables, "DATABASE_URL": pooled(url)}


def run(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `todo-service` with these arguments and settings to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(**variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits for something that must come true, looking often."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.02)


def answers(url: str) -> bool:
    """Whether there is a 200 at this address."""
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


@contextmanager
def served(log: Path, code: str = "", **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`todo-service serve` as it is deployed, once it answers: the process and the service's address.

    `code` is a folder with the code of another release.
    """
    settings = {"HOST": "127.0.0.1", "PORT": str(free_port()), "JWT_SECRET": SECRET, **service(**variables)}
    settings |= {"PYTHONPATH": code} if code else {}
    url = f"http://127.0.0.1:{settings['PORT']}"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [COMMAND, "serve"], env=environment(**settings), cwd=code or None, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: answers(f"{url}/health") or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield process, url
    finally:
        process.terminate()
        process.wait(timeout=30)
