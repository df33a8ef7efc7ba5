"""Slow clients and long exports behind the recommended proxies."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiohttp import ClientResponse

from tests.proxies.conftest import MakeCaller
from tests.support.exports import (
    LONGEST,
    MakeUser,
    User,
    between_pages,
    digest_of,
    expected_digest,
    run_in_process,
    tasks_in,
)
from tests.support.external_programs import require
from tests.support.processes import TEST_TIMEOUT
from tests.support.reverse_proxies import SERVERS, run_recommended, trusting
from todo_service.problems import Problem
from todo_service.settings import Settings

pytestmark = pytest.mark.xdist_group("proxies")

each_server = pytest.mark.parametrize("server", SERVERS)
each_coding = pytest.mark.parametrize("coding", ["identity", "gzip"])


def decoder(coding: str) -> Callable[[bytes], bytes]:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS + 16).decompress if coding == "gzip" else bytes


async def slow_chunks(response: ClientResponse, decode: Callable[[bytes], bytes]) -> AsyncIterator[bytes]:
    """The decoded body of a response. Other tasks run between two reads."""
    while chunk := await response.content.read(4096):
        yield decode(chunk)
        await asyncio.sleep(0)


async def test_a_body_that_arrives_byte_by_byte_creates_a_task(recommended: str) -> None:
    address, user = urlsplit(recommended), User("byte by byte")
    body = json.dumps({"title": "Buy milk"}).encode()
    head = f"POST /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: {user.headers['Authorization']}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=trusting())
    for octet in head.encode() + body:
        writer.write(bytes([octet]))  # a TLS record for each byte
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), TEST_TIMEOUT)
    assert answer.startswith(b"HTTP/1.1 201 ")
    writer.close()


@each_coding
async def test_a_client_that_reads_slowly_receives_the_whole_export(
    recommended: str, caller: MakeCaller, user_with: MakeUser, connection: asyncpg.Connection, coding: str
) -> None:
    user = await user_with(1_000, LONGEST)
    alice = await caller(recommended, user, coding)
    async with alice.session.get(alice.at("api/export")) as response:
        digest = await digest_of(slow_chunks(response, decoder(coding)))
    assert digest == await expected_digest(connection, user)


@each_server
@each_coding
async def test_a_task_arrives_before_the_service_has_read_the_next_page(
    server: str,
    coding: str,
    caller: MakeCaller,
    user_with: MakeUser,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user, received = await user_with(3, "Two bottles"), asyncio.Event()
    between_pages(monkeypatch, 1, received.wait)
    async with run_in_process(settings) as (_, service):
        with run_recommended(server, service) as url:
            alice = await caller(url, user, coding)
            async with alice.session.get(alice.at("api/export")) as response:
                decode = decoder(coding)
                body = decode(await response.content.readany())
                while not body.endswith(b"\n"):
                    body += decode(await response.content.readany())
                assert len(tasks_in(body)) == 1
                received.set()
                body += decode(await response.content.read())
                assert len(tasks_in(body)) == 3


@each_server
@each_coding
@pytest.mark.parametrize(("version", "exit_code"), [("--http1.1", 18), ("--http2", 92)])
async def test_an_export_that_breaks_off_is_an_error_for_the_client(
    server: str,
    coding: str,
    version: str,
    exit_code: int,
    user_with: MakeUser,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """curl exits with 18 for an incomplete response, and with 92 for a stream that HTTP/2 has reset."""
    curl, user = require("curl"), await user_with(3, "Two bottles")

    async def fail() -> None:
        raise Problem("unavailable")

    between_pages(monkeypatch, 1, fail)
    async with run_in_process(settings) as (_, service):
        with run_recommended(server, service) as url:
            headers = [f"Authorization: {user.headers['Authorization']}", f"Accept-Encoding: {coding}"]
            arguments = [word for header in headers for word in ("--header", header)]
            command = [curl, "--silent", "--insecure", version, *arguments, f"{url}api/export"]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
            assert await asyncio.wait_for(process.wait(), TEST_TIMEOUT) == exit_code
