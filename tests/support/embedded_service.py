"""`todo-service serve --embedded` as a process, like `make run`."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil

from tests.support.processes import COMMAND, TEST_TIMEOUT, environment, wait_until_blocking


class Service:
    """`todo-service serve --embedded` in a folder, and its output."""

    def __init__(self, place: Path, port: int, **variables: str) -> None:
        self.log = place / "output"
        with self.log.open("w") as log:
            self.process = psutil.Popen(
                [COMMAND, "serve", "--embedded"],
                cwd=place,
                env=environment(PORT=str(port), **variables),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return self.log.read_text()

    def wait_until_ready(self) -> "Service":
        wait_until_blocking(lambda: "Ctrl-C" in self.output() or self.process.poll() is not None)
        assert self.process.poll() is None, self.output()
        return self

    def process_tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def token(self) -> str:
        """The token for the user `demo` in the banner."""
        return str(re.findall(r"Bearer ([\w.-]+)'", self.output())[0])

    def token_on_the_page(self, port: int) -> str:
        with urlopen(f"http://127.0.0.1:{port}/docs") as page:
            return str(re.findall('data-token="([^"]*)"', page.read().decode())[0])

    def curl(self) -> str:
        """Runs the curl command of the banner in a shell."""
        line = next(line for line in self.output().splitlines() if line.startswith("curl "))
        done = subprocess.run(["sh", "-c", f"{line} -sSi"], capture_output=True, text=True, check=True)
        return done.stdout


@contextlib.contextmanager
def serving(place: Path, port: int, **variables: str) -> Iterator[Service]:
    """Starts the service in a folder, yields it at once, and stops it."""
    service = Service(place, port, **variables)
    try:
        yield service
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            service.process.terminate()
        service.process.wait(TEST_TIMEOUT)
