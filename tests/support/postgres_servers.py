"""PostgreSQL servers for single tests, and the programs of PostgreSQL."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.support.external_programs import missing
from tests.support.processes import TEST_TIMEOUT, free_port
from todo_service.embedded.postgres import Postgres, find_binaries, run_postgres

SERVER_URL = "TEST_DATABASE_URL"
"""The variable with the address of the tests' PostgreSQL: the first process of a run sets it, the others inherit it."""

BINARIES = "TEST_POSTGRES_BINARIES"
"""The variable with a folder of another PostgreSQL. The tests then run with its programs."""


OLDEST = Path("/usr/lib/postgresql/15/bin")
"""The programs of the oldest supported PostgreSQL, in Debian's package postgresql-15."""


def require_oldest() -> Path:
    """The folder with the programs of the oldest supported PostgreSQL. Without it, the test is skipped or fails."""
    return OLDEST if (OLDEST / "postgres").exists() else missing(f"there is no PostgreSQL in {OLDEST}")


@contextmanager
def run_server(folder: Path, *options: str) -> Iterator[Postgres]:
    """Runs a server on a data folder, which is created if it does not exist. `options` are passed to `postgres`."""
    binaries = Path(os.environ[BINARIES]) if BINARIES in os.environ else None
    with run_postgres(folder, binaries=binaries, options=options) as postgres:
        yield postgres


class TcpServer:
    """A server that listens on `port` of 127.0.0.1 and trusts all connections.

    (The server of the other tests listens on a Unix socket only.)
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        with run_server(folder):
            (folder / "postgres" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")

    @contextmanager
    def run(self) -> Iterator[str]:
        """Runs the server in this context, and yields its URL. A test can run it again."""
        with run_server(self._folder, "-c", "listen_addresses=127.0.0.1", "-p", str(self.port)):
            yield f"postgres://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"


PROGRAMS = Path(os.environ[BINARIES]) if BINARIES in os.environ else find_binaries()


@asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL in which the role `guarded` needs a password."""
    data = tmp_path_factory.mktemp("guarded")
    with run_server(data) as postgres:

        async def guard() -> None:
            rules = data / "postgres" / "pg_hba.conf"
            rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
            async with session(postgres.url) as connection:
                await connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
                loaded = "SELECT pg_reload_conf(), pg_conf_load_time()"
                before = await connection.fetchval(loaded, column=1)
                while await connection.fetchval(loaded, column=1) == before:
                    await connection.execute("SELECT pg_sleep(0.01)")

        asyncio.run(guard())
        yield postgres.url


def run_program(name: str, *arguments: str, stdin: str = "") -> str:
    """Runs a program of PostgreSQL, such as pg_dump, in the version of the tests' server."""
    command = [str(PROGRAMS / name), *arguments]
    return subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, text=True, timeout=TEST_TIMEOUT, check=True
    ).stdout


async def create_test_database(options: str = "") -> str:
    """Creates an empty database on the tests' server, and returns its address."""
    server, name = os.environ[SERVER_URL], f"test_{uuid4().hex}"
    async with session(server) as connection:
        await connection.execute(f"CREATE DATABASE {name} {options}")
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


async def drop_test_database(url: str) -> None:
    async with session(os.environ[SERVER_URL]) as connection:
        await connection.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")


CreateDatabase = Callable[..., Awaitable[str]]


@pytest.fixture
async def create_database() -> AsyncIterator[CreateDatabase]:
    """Creates empty databases with options of CREATE DATABASE, and drops them after the test."""
    urls: list[str] = []

    async def create(options: str = "") -> str:
        urls.append(await create_test_database(options))
        return urls[-1]

    yield create
    for url in urls:
        await drop_test_database(url)


@pytest.fixture
async def empty_database(create_database: CreateDatabase) -> str:
    """An empty database for one test."""
    return await create_database()
