"""Many connections: 10,000 that are idle and 1,000 that send a byte a second don't affect other requests."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from aiohttp import ClientSession

from tests.support.api import JSON, TASKS
from tests.support.external_programs import missing
from tests.support.processes import SECRET, TEST_TIMEOUT, served
from todo_service.auth.tokens import sign_token

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.xdist_group("connections")]

OWNER = {"Authorization": f"Bearer {sign_token(SECRET, 'many', days=1)}"}
IDLE, SLOW = 10_000, 1_000
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = f"POST {TASKS} HTTP/1.1\r\nHost: x\r\nAuthorization: {OWNER['Authorization']}\r\n"
KILOBYTES_OF_A_CONNECTION = 20


@contextmanager
def files(limit: int) -> Iterator[None]:
    """Sets the soft limit of open files of this process, and of the processes that it starts, within the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def sockets(address: tuple[str, int], count: int) -> AsyncIterator[list[socket.socket]]:
    loop = asyncio.get_running_loop()
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(socket.socket())
            opened[-1].setblocking(False)
            await loop.sock_connect(opened[-1], address)
        yield opened
    finally:
        for each in opened:
            each.close()


async def trickle(senders: list[socket.socket], address: tuple[str, int]) -> None:
    """Sends a byte a second on each connection: a part of headers or of a body. Reconnects after a timeout."""
    loop = asyncio.get_running_loop()
    body = f"{HEAD}Content-Type: {JSON['Content-Type']}\r\nContent-Length: 10000\r\n\r\n".encode()
    for sender in senders[::2]:
        sender.send(body)
    for byte in cycle(body[:60]):
        for number, sender in enumerate(senders):
            try:
                sender.send(bytes([byte]))
            except ConnectionError:
                sender.close()
                senders[number] = socket.socket()
                senders[number].setblocking(False)
                await loop.sock_connect(senders[number], address)
        await asyncio.sleep(1)


async def first_line(sock: socket.socket) -> bytes:
    async with asyncio.timeout(TEST_TIMEOUT):
        answer = await asyncio.get_running_loop().sock_recv(sock, 1000)
    return answer.partition(b"\r\n")[0]


async def test_11_000_idle_and_slow_connections_do_not_affect_other_requests(
    service_database_url: str, tmp_path: Path
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < IDLE + SLOW + 1000:
        missing(f"this system allows {hard:,} open files, too few for {IDLE + SLOW:,} connections")
    with files(256), served(tmp_path / "log", DATABASE_URL=service_database_url) as (process, url), files(hard):
        [worker] = psutil.Process(process.pid).children()
        before = worker.memory_info().rss
        address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        async with sockets(address, IDLE) as idle, sockets(address, SLOW) as slow:
            for each in idle:
                each.send(HEALTH)
            slowness = asyncio.create_task(trickle(slow, address))
            async with ClientSession(url, headers=OWNER) as session:
                for number in range(200):
                    created = await session.post(TASKS, json={"title": str(number)})
                    listed = await session.get(TASKS, params={"limit": 1})
                    health = await session.get("/health")
                    assert (created.status, listed.status, health.status) == (201, 200, 200)
            assert not slowness.done()
            slowness.cancel()
            assert {await first_line(each) for each in idle} == {b"HTTP/1.1 200 OK"}
            assert worker.memory_info().rss - before < (IDLE + SLOW) * KILOBYTES_OF_A_CONNECTION * 1000
