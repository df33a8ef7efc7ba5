"""Raw HTTP: requests that no library would send, and all responses on their connection."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass

from tests.support.api import Client
from tests.support.processes import TEST_TIMEOUT

PROBE = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""A request to send after another request. Its response shows whether the service found the end of that request."""


@dataclass(frozen=True)
class Answer:
    """One of several responses on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(client: Client, octets: bytes, *, at_a_time: int = 1 << 30) -> list[Answer]:
    """Sends octets, `at_a_time` in each write, and returns all responses until the service closes the connection.

    If the service closes it before everything is sent, the responses may be lost.
    """
    assert client.port is not None
    reader, writer = await asyncio.open_connection(client.host, client.port)
    receiving = asyncio.create_task(receive(reader))
    with suppress(ConnectionError):
        for start in range(0, len(octets), at_a_time):
            writer.write(octets[start : start + at_a_time])
            await asyncio.sleep(0)
    received = await asyncio.wait_for(receiving, timeout=TEST_TIMEOUT)
    writer.close()
    return list(read_answers(received))


async def receive(reader: asyncio.StreamReader) -> bytes:
    """All data until the connection is closed or reset."""
    received = b""
    with suppress(ConnectionError):
        while some := await reader.read(65_536):
            received += some
    return received


def read_answers(received: bytes) -> list[Answer]:
    """The responses in this data. Each header must occur only once."""
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        assert status, received[:200]
        lines = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:]]
        headers = {name.lower(): value for name, value in lines}
        assert len(headers) == len(lines), "a header is repeated"
        length = 0 if rest.startswith(b"HTTP/") else int(headers.get("content-length", 0))  # 0 after HEAD
        answers.append(Answer(int(status[1]), headers, rest[:length]))
        received = rest[length:]
    return answers


def statuses(answers: list[Answer]) -> list[int]:
    """Their status codes, without 100 (Continue)."""
    return [answer.status for answer in answers if answer.status != 100]
