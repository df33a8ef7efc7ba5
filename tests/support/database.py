"""Helpers for tests of a `Database`: its pool, a network that can fail, and sessions that wait for a lock."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import ClientResponse, web
from pytest_aiohttp import AiohttpClient

from tests.support.api import Api, problem_of
from tests.support.pgbouncer import socket_of
from tests.support.processes import TEST_TIMEOUT, free_port
from tests.support.service_role import ROLE
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.database import connecting, locked_users, sending
from todo_service.database.connecting import BACKOFF
from todo_service.database.database import DATABASE, Database, database_context
from todo_service.database.statements import Statement
from todo_service.http.in_flight import reset
from todo_service.settings import Settings

StartService = Callable[..., Awaitable[Api]]

SHOW_SETTINGS = Statement(
    "test/settings",
    """SELECT current_setting('application_name') AS application_name, current_setting('jit') AS jit,
        current_setting('lock_timeout') AS lock_timeout, current_setting('plan_cache_mode') AS plan_cache_mode,
        current_setting('statement_timeout') AS statement_timeout, current_setting('geqo') AS geqo""",
    writes=False,
)


INTERNAL = re.compile(r"asyncpg|postgres|sql|select|insert|violat|timeout|lock|users|127\.0|/tmp|test", re.IGNORECASE)
"""Words that a response must not contain: they are internal to the service."""


async def assert_503(response: ClientResponse, name: str) -> None:
    """Asserts that a response is a 503 with this problem, and has no internal details."""
    await problem_of(response, 503, name)
    assert response.headers.get("Retry-After") == ("1" if name == "unavailable" else None)
    assert INTERNAL.search(await response.text()) is None


class Gateway:
    """A TCP proxy for the tests' PostgreSQL, which listens on a Unix socket only. It can be closed, cut and frozen."""

    def __init__(self, database_url: str) -> None:
        self.port = free_port()
        self.url = f"postgres://{ROLE}:hidden@127.0.0.1:{self.port}{urlsplit(database_url).path}"
        self._socket = socket_of(database_url)
        self.passing = asyncio.Event()  # if cleared, the proxy accepts connections, but forwards no data
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None] | None] = []

    async def open(self) -> None:
        self.passing.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    def cut(self) -> None:
        """Resets all connections."""
        for writer in self._writers:
            reset(cast("asyncio.Transport", writer.transport))
        self._writers.clear()

    async def close(self) -> None:
        self._server.close()
        self.passing.set()
        self.cut()
        await asyncio.gather(*filter(None, self._tasks))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.current_task())
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        self._writers += [writer, server_writer]
        await asyncio.gather(self._pass(reader, server_writer), self._pass(server_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self.passing.wait()
                writer.write(data)
        writer.close()


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings.database_url)
    await gateway.open()
    yield gateway
    await gateway.close()


@pytest.fixture
def start_service(aiohttp_client: AiohttpClient, settings: Settings) -> StartService:
    """Starts a service with changed settings, and returns the Api of a new user."""

    async def start_service(**changes: Any) -> Api:
        client = await aiohttp_client(create_app(replace(settings, **changes)))
        user_id = f"user-{uuid4()}"
        return Api(client, user_id, sign_token(settings.jwt_secret, user_id, days=1))

    return start_service


@asynccontextmanager
async def open_database(settings: Settings, **changes: Any) -> AsyncIterator[Database]:
    """A `Database` with changed settings."""
    app = web.Application()
    async with asynccontextmanager(database_context(replace(settings, **changes)))(app):
        yield app[DATABASE]


@contextmanager
def call_timeout(database: Database, seconds: float) -> Iterator[None]:
    """Sets the timeout of calls within the block. The time to open and close connections is still DATABASE_TIMEOUT."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_timeout", seconds)
        patch.setattr(database._senders, "_timeout", seconds + 2 * sending.DEADLINE_POLL_SECONDS)
        yield


@pytest.fixture
def long_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets statements of the service wait for a lock for 30 s, so that their calls aren't parked."""
    monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")


@pytest.fixture
def short_lock_retry_timeout(monkeypatch: pytest.MonkeyPatch) -> int:
    """Sets RETRY_CUTOFF_SECONDS to 30, and returns 31 s as DATABASE_TIMEOUT: parked calls are retried for 1 s."""
    monkeypatch.setattr(locked_users, "RETRY_CUTOFF_SECONDS", 30.0)
    return 31


async def blocked_sessions(connection: asyncpg.Connection) -> list[int]:
    """The process IDs of the service's sessions in this database that wait for a lock."""
    await connection.execute("SELECT pg_stat_clear_snapshot()")  # otherwise a transaction reads the same rows again
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'todo-service' AND wait_event_type = 'Lock'"
    )
    return [row["pid"] for row in rows]


async def wait_for_blocked_sessions(connection: asyncpg.Connection, count: int) -> list[int]:
    """Waits until at least `count` sessions of the service wait for a lock, and returns their process IDs."""
    async with asyncio.timeout(TEST_TIMEOUT):
        while len(pids := await blocked_sessions(connection)) < count:
            await connection.execute("SELECT pg_sleep(0.01)")
    return pids


async def wait_for_blocked_session(connection: asyncpg.Connection) -> int:
    """Waits until a session of the service waits for a lock, and returns its process ID."""
    pid, *_ = await wait_for_blocked_sessions(connection, 1)
    return pid


async def wait_for_session_count(connection: asyncpg.Connection, count: int, name: str = "todo-service") -> None:
    """Waits until this database has this number of sessions with the name. Sessions of earlier tests may end late."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
    async with asyncio.timeout(TEST_TIMEOUT):
        while await connection.fetchval(query, name) != count:
            await connection.execute("SELECT pg_sleep(0.01)")


def pauses_after(attempts: int) -> list[float]:
    """The pauses after this number of failed attempts."""
    return [*BACKOFF, *[BACKOFF[-1]] * attempts][:attempts]
