"""PostgreSQL servers of a test's own, with the binaries of the run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import free_port
from tests.tools import missing
from todo_service.embedded.postgres import Postgres, run_postgres

BINARIES = "TEST_POSTGRES_BINARIES"
"""A folder with another PostgreSQL's postgres and initdb, to run the tests on that one."""


OLDEST = Path("/usr/lib/postgresql/15/bin")
"""Where Debian's package postgresql-15 has the programs of the oldest version that the service works with."""


def require_oldest() -> Path:
    """The folder with the oldest PostgreSQL; without it, the test is skipped or fails."""
    return OLDEST if (OLDEST / "postgres").exists() else missing(f"there is no PostgreSQL in {OLDEST}")


@contextmanager
def run_server(folder: Path, *options: str) -> Iterator[Postgres]:
    """Runs one on a folder, made when it is new. `options` go to `postgres`."""
    binaries = Path(os.environ[BINARIES]) if BINARIES in os.environ else None
    with run_postgres(folder, binaries=binaries, options=options) as postgres:
        yield postgres


class TcpServer:
    """One that listens to `port` of 127.0.0.1, unlike that of the other tests, and trusts whoever connects."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        with run_server(folder):
            (folder / "postgres" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")

    @contextmanager
    def run(self) -> Iterator[str]:
        """Serves meanwhile, at this address; may be repeated."""
        with run_server(self._folder, "-c", "listen_addresses=127.0.0.1", "-p", str(self.port)):
            yield f"postgres://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"
