"""In-flight requests: a worker counts them, so that it can finish them before it stops."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # on, with a linger time of 0 seconds


@dataclass
class InFlight:
    """The number of in-flight requests, and whether the worker is stopping.

    `streams` are the connections that send a response while it is produced.
    """

    requests: int = 0
    stopping: bool = False
    streams: set[asyncio.Transport] = field(default_factory=set)

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware that counts. While the worker stops, each response closes its connection."""
        self.requests += 1
        try:
            response = await handler(request)
        finally:
            self.requests -= 1
        if self.stopping:
            response.force_close()
        return response

    def count_until_sent(self, request: web.Request) -> None:
        """Counts a request until its response is sent. The middleware counts it only until the handler returns."""
        task, transport = asyncio.current_task(), request.transport
        if task and transport:  # the task of this request, which also sends the response
            self.requests += 1
            self.streams.add(transport)
            task.add_done_callback(lambda _task: self._sent(transport))

    def _sent(self, transport: asyncio.Transport) -> None:
        self.requests -= 1
        self.streams.discard(transport)


IN_FLIGHT = web.AppKey("in_flight", InFlight)


def reset(transport: asyncio.Transport | None) -> None:
    """Closes a connection with a TCP reset, which shows the client that the body is incomplete.

    In HTTP/1.0, which has no chunks, an orderly close of the connection marks the end of the body.
    """
    if transport:
        with suppress(AttributeError, OSError, ValueError):  # uvloop or asyncio raise these for a closed socket
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        transport.abort()
