"""Exports: users with many tasks, clients that read slowly, and actions between two pages."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import AddrInfoType, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web

from tests.support.processes import SECRET, TEST_TIMEOUT
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.handlers import me
from todo_service.server.graceful import Runner
from todo_service.server.runner import SERVER_OPTIONS
from todo_service.settings import Settings

EXPORT = "/api/export"
Action = Callable[[], Awaitable[object]]


def tasks_in(body: bytes) -> list[dict[str, Any]]:
    """The tasks of an export, which must end with a line feed."""
    *lines, last = body.split(b"\n")
    assert last == b""
    return [json.loads(line) for line in lines]


def between_pages(monkeypatch: pytest.MonkeyPatch, size: int, *actions: Action) -> None:
    """Sets the number of tasks on a page. Runs one of the actions before each page except the first."""
    read_page, pending = me._page, iter(actions)

    async def act_and_read(*arguments: Any) -> me.Page:
        if arguments[-1] is not None and (action := next(pending, None)):  # the argument is the first task of the page
            await action()
        return await read_page(*arguments)

    monkeypatch.setattr(me, "PAGE_SIZE", size)
    monkeypatch.setattr(me, "_page", act_and_read)


MEGABYTE = 2**20
LONGEST = "🍎" * 1000

INSERT = """
    INSERT INTO tasks (user_id, title, description, created_at, revision)
    SELECT $1, 'Task ' || n, $2, timestamptz '2026-01-01Z' + n / 3 * interval '1 second', n
    FROM generate_series(1, $3::integer) AS n
"""

EXPORTED_LINES = "SELECT body || E'\\n' FROM tasks WHERE user_id = $1 ORDER BY created_at, id"


@dataclass(frozen=True)
class User:
    """A user of the service, with a token."""

    id: str

    @property
    def headers(self) -> dict[str, str]:
        # Responses are not compressed, because the long descriptions of these tests would become short.
        return {"Authorization": f"Bearer {sign_token(SECRET, self.id, days=1)}", "Accept-Encoding": "identity"}


MakeUser = Callable[[int, str], Awaitable[User]]


@pytest.fixture
async def user_with(connection: asyncpg.Connection) -> AsyncIterator[MakeUser]:
    """Creates a user with `count` tasks, each with this description. Deletes the users after the test."""
    users: list[User] = []

    async def make(count: int, description: str) -> User:
        users.append(user := User(f"user-{uuid4()}"))
        await connection.execute("INSERT INTO users (id, revision) VALUES ($1, $2)", user.id, count)
        await connection.execute(INSERT, user.id, description, count)
        return user

    yield make
    await connection.execute("DELETE FROM users WHERE id = ANY($1)", [user.id for user in users])


async def digest_of(chunks: AsyncIterator[bytes]) -> str:
    """The SHA-256 digest of a response, which may be too long to keep."""
    digest = sha256()
    async for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


async def expected_digest(connection: asyncpg.Connection, user: User) -> str:
    """The digest of the user's export, from the rows of the database."""

    async def lines() -> AsyncIterator[bytes]:
        async for (line,) in connection.cursor(EXPORTED_LINES, user.id, prefetch=1000):
            yield line.encode()

    async with connection.transaction():
        return await digest_of(lines())


def small_socket(address: AddrInfoType) -> socket.socket:
    """A socket with a small receive buffer."""
    sock = socket.socket(*address[:3])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return sock


@asynccontextmanager
async def slow_client(url: str, user: User) -> AsyncIterator[ClientSession]:
    """A client that receives hardly more of a response than the test has read."""
    connector = TCPConnector(socket_factory=small_socket)
    timeout = ClientTimeout(total=TEST_TIMEOUT)
    async with ClientSession(
        url, headers=user.headers, connector=connector, read_bufsize=4096, timeout=timeout
    ) as session:
        yield session


async def start_export(session: ClientSession) -> ClientResponse:
    """Sends the request, and reads only the head of the response."""
    response = await session.get(EXPORT)
    assert response.status == 200
    return response


async def start_export_without_chunks(runner: Runner, user: User) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends the request with HTTP/1.0, and reads only the status line of the response."""
    reader, writer = await asyncio.open_connection(*runner.addresses[0], limit=4096)
    writer.write(f"GET {EXPORT} HTTP/1.0\r\nAuthorization: {user.headers['Authorization']}\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.0 200 ")
    return reader, writer


def read_fast(response: ClientResponse) -> None:
    """Makes a slow client fast, because a stopping service waits only for a limited time."""
    assert response.connection
    assert response.connection.transport
    response.connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MEGABYTE)


@asynccontextmanager
async def run_in_process(settings: Settings) -> AsyncIterator[tuple[Runner, str]]:
    """The service in this process, and its address.

    aiohttp closes connections that are still open 10 ms after the graceful shutdown.
    """
    options: dict[str, Any] = SERVER_OPTIONS | {"shutdown_timeout": 0.01}
    runner = Runner(create_app(replace(settings, jwt_secret=SECRET)), **options)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
