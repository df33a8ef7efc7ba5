"""In-flight requests: how many there are, so that a stop can wait for them."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # linger for no second


@dataclass
class Traffic:
    """How many requests are being served, and whether those are the last ones.

    `streams` are the connections of those whose answers are made while they are sent.
    """

    requests: int = 0
    stopping: bool = False
    streams: set[asyncio.Transport] = field(default_factory=set)

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A middleware around all that answers; while stopping, makes each answer the last on its connection."""
        self.requests += 1
        try:
            response = await handler(request)
        finally:
            self.requests -= 1
        if self.stopping:
            response.force_close()
        return response

    def count_until_sent(self, request: web.Request) -> None:
        """Counts a request, whose answer is made while it is sent, until it has been: the middleware would not."""
        task, transport = asyncio.current_task(), request.transport
        if task and transport:  # the task is that of this request, which also sends the answer
            self.requests += 1
            self.streams.add(transport)
            task.add_done_callback(lambda _task: self._has_been_sent(transport))

    def _has_been_sent(self, transport: asyncio.Transport) -> None:
        self.requests -= 1
        self.streams.discard(transport)


TRAFFIC = web.AppKey("traffic", Traffic)


def reset(transport: asyncio.Transport | None) -> None:
    """Closes a connection so that nobody takes what came for all: without chunks (HTTP/1.0) an orderly end says so."""
    if transport:
        with suppress(AttributeError, OSError, ValueError):  # uvloop and asyncio say so if it is closed already
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        transport.abort()
