"""HTTP connections: the time limits for headers and bodies, and the response to malformed HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.support.api import TASKS
from tests.support.processes import TEST_TIMEOUT, wait_until
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.http import validation
from todo_service.server import http_protocol
from todo_service.server.graceful import Runner
from todo_service.server.runner import SERVER_OPTIONS
from todo_service.settings import Settings

pytestmark = pytest.mark.database

Connect = Callable[[], AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def runner(settings: Settings) -> AsyncIterator[Runner]:
    """The service as each worker serves it."""
    # After an error aiohttp reads the rest of the body, for 10 s by default: too long for a test.
    runner = Runner(create_app(settings), **SERVER_OPTIONS, lingering_time=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner
    await runner.cleanup()


@pytest.fixture
def port(runner: Runner) -> int:
    """The port of the service."""
    port: int = runner.addresses[0][1]
    return port


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.split("\r\n")[:-2]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(status.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def assert_refused(reader: asyncio.StreamReader, status: int, name: str) -> None:
    """Checks that the response is this problem document, and that the connection is closed."""
    answered, headers, body = await asyncio.wait_for(read_answer(reader), timeout=TEST_TIMEOUT)
    assert answered == status
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["type"] == f"/problems#{name}"
    assert await asyncio.wait_for(reader.read(), timeout=TEST_TIMEOUT) == b""


async def test_headers_that_take_too_long_get_408(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.3)
    async with connected(port) as (reader, writer):
        refusal = asyncio.create_task(assert_refused(reader, 408, "request-timeout"))
        for byte in HEALTH:  # the loop takes more than a second
            writer.write(bytes([byte]))
            await asyncio.sleep(0.03)
            if refusal.done():
                break
        await refusal


async def test_headers_of_a_later_request_that_take_too_long_get_408(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.3)
    async with connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(HEALTH)
            assert (await read_answer(reader))[0] == 200
        writer.write(HEALTH[:20])
        await assert_refused(reader, 408, "request-timeout")


async def test_the_time_limit_for_headers_ends_when_they_are_complete(
    runner: Runner, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer that still runs would close an idle connection, or interrupt the headers of the next request."""
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 10 * TEST_TIMEOUT)
    async with connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(HEALTH[:20])
            await wait_until(lambda: timer_of(runner) is not None)
            timer = timer_of(runner)
            writer.write(HEALTH[20:])
            assert (await read_answer(reader))[0] == 200
            assert timer is not None
            assert timer.cancelled()
            assert timer_of(runner) is None


def timer_of(runner: Runner) -> asyncio.TimerHandle | None:
    """The timer of the only connection: it limits the time for headers."""
    connections = runner.server.connections if runner.server else []
    return connections[0]._timer if connections else None  # type: ignore[attr-defined]


def creation(settings: Settings, length: str) -> bytes:
    token = sign_token(settings.jwt_secret, "slow", days=1)
    head = f"POST {TASKS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    return f"{head}{length}\r\n\r\n".encode()


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_body_that_takes_too_long_gets_408(
    port: int, settings: Settings, monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    monkeypatch.setattr(validation, "BODY_SECONDS", 0.3)
    async with connected(port) as (reader, writer):
        writer.write(creation(settings, length))
        writer.write(b"1\r\n{\r\n" if "chunked" in length else b"{")
        await assert_refused(reader, 408, "request-timeout")


async def test_a_body_in_two_parts_is_read(port: int, settings: Settings) -> None:
    async with connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(creation(settings, "Content-Length: 14") + b'{"tit')
            await asyncio.sleep(0.1)
            writer.write(b'le": "x"}')
            assert (await read_answer(reader))[0] == 201


async def test_malformed_http_gets_400_with_a_problem_document(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n")
        await assert_refused(reader, 400, "malformed-request")
