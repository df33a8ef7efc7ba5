"""Requests as no HTTP library would send them, and all that comes back on their connection."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass

from tests.support.api import Client
from tests.support.processes import PATIENCE

PROBE = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""A request that follows: its answer shows where the service takes the one before it to end."""


@dataclass(frozen=True)
class Answer:
    """One answer of several on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(client: Client, octets: bytes, *, at_a_time: int = 1 << 30) -> list[Answer]:
    """Sends octets, so many at a time, and gives all answers until the service closes the connection.

    Of a service that closes it while there is more to come they may be missing.
    """
    assert client.port is not None
    reader, writer = await asyncio.open_connection(client.host, client.port)
    receiving = asyncio.create_task(receive(reader))
    with suppress(ConnectionError):
        for start in range(0, len(octets), at_a_time):
            writer.write(octets[start : start + at_a_time])
            await asyncio.sleep(0)
    received = await asyncio.wait_for(receiving, timeout=PATIENCE)
    writer.close()
    return list(read_answers(received))


async def receive(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while some := await reader.read(65_536):
            received += some
    return received


def read_answers(received: bytes) -> list[Answer]:
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        assert status, received[:200]
        lines = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:]]
        headers = {name.lower(): value for name, value in lines}
        assert len(headers) == len(lines), "a header comes once"
        length = 0 if rest.startswith(b"HTTP/") else int(headers.get("content-length", 0))  # 0 after HEAD
        answers.append(Answer(int(status[1]), headers, rest[:length]))
        received = rest[length:]
    return answers


def statuses(answers: list[Answer]) -> list[int]:
    """Their status codes, without those that say to go on (100)."""
    return [answer.status for answer in answers if answer.status != 100]
