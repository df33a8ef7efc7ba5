"""Stopping: requests that have begun are served to their end, also when bodies or answers are under way."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from todo_service.connections import Server

DRAIN_SECONDS = 18.0
LINGER_SECONDS = 1.0  # until a client that has been told nothing yet may be taken for silent
POLL_SECONDS = 0.02
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


class Runner(web.AppRunner):
    """An AppRunner that waits for its requests before it closes their connections.

    aiohttp waits for handlers, too, but ignores what connections still receive: a handler that reads a body then
    waits for it in vain. And it forgets what the system has not taken yet, because the client reads slowly.
    It also closes connections that are idle at once, when their next request may be on its way, which then fails: here
    they are open until the answer to that says that it is the last one, or until they have been silent for a while.
    """

    async def _make_server(self) -> Server:
        server = await super()._make_server()
        server.__class__ = Server  # there is no way to have aiohttp make one
        return cast("Server", server)

    async def cleanup(self) -> None:
        for site in list(self.sites):
            await site.stop()
        self.app[TRAFFIC].stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._silence()
        # A stream that waits for the database has nothing to send just now, but will have more than there is time for.
        for transport in {*self._sending(), *self.app[TRAFFIC].streams}:
            reset(transport)
        await super().cleanup()

    async def _silence(self) -> None:
        """Returns when all has been sent, and who still has a connection has not used it for a while."""
        loop = asyncio.get_running_loop()
        silent_since = loop.time()
        while self._is_serving() or (self._connections() and loop.time() < silent_since + LINGER_SECONDS):
            if self._is_serving():
                silent_since = loop.time()
            await asyncio.sleep(POLL_SECONDS)  # no event tells that a transport has sent all

    def _is_serving(self) -> bool:
        return self.app[TRAFFIC].requests > 0 or bool(self._sending())

    def _sending(self) -> list[asyncio.Transport]:
        """The connections whose answers the system has not taken yet."""
        return [transport for transport in self._connections() if transport.get_write_buffer_size()]

    def _connections(self) -> list[asyncio.Transport]:
        connections = self.server.connections if self.server else []
        return [connection.transport for connection in connections if connection.transport]


def reset(transport: asyncio.Transport | None) -> None:
    """Closes a connection so that nobody takes what came for all: without chunks (HTTP/1.0) an orderly end says so."""
    if transport:
        with suppress(AttributeError, OSError, ValueError):  # uvloop and asyncio say so if it is closed already
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        transport.abort()
