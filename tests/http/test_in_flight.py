"""Resetting a connection: in_flight.reset() may be called for a connection that is already closed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from todo_service.http import in_flight


@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("reads_socket_first", [False, True])
def test_resetting_a_closed_connection_raises_no_error(
    new_event_loop: Callable[[], asyncio.AbstractEventLoop], reads_socket_first: bool
) -> None:
    async def close_and_reset() -> None:
        lost = asyncio.Event()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                connected.set_result(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                lost.set()

        loop = asyncio.get_running_loop()
        connected: asyncio.Future[Any] = loop.create_future()
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await connected
        if reads_socket_first:
            transport.get_extra_info("socket")
        writer.close()
        await lost.wait()
        server.close()
        in_flight.reset(transport)
        in_flight.reset(transport)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(close_and_reset())
