"""Incomplete and malformed messages: they get 400 or no response, and the service logs no traceback."""

import asyncio
import re

import pytest

from tests.support.api import Api, Client
from tests.support.processes import TEST_TIMEOUT

pytestmark = pytest.mark.database


async def send_and_close(client: Client, request: bytes) -> bytes:
    """Sends octets, closes the sending side of the connection, and returns the response."""
    assert client.port is not None
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(request)
    writer.write_eof()
    response = await asyncio.wait_for(reader.read(), timeout=TEST_TIMEOUT)
    writer.close()
    await writer.wait_closed()
    return response


@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"Content-Length: 500\r\n\r\n{",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_an_incomplete_or_malformed_message_logs_no_traceback(
    owner: Api, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        "POST /api/tasks HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Authorization: Bearer {owner.token}",
    ]
    head = "".join(f"{line}\r\n" for line in lines)
    response = await send_and_close(owner.client, head.encode() + body)
    assert response == b"" or re.match(rb"HTTP/1\.[01] 400 ", response)
    assert not [record for record in caplog.records if record.exc_info]
    assert await owner.tasks() == []
