"""Graceful shutdown: a worker finishes its in-flight requests, and sends their responses, before it stops."""

import asyncio
from contextlib import suppress

from todo_service.http import IN_FLIGHT, reset
from todo_service.library_internals import AppRunner
from todo_service.server.http_protocol import Connection

DRAIN_SECONDS = 18.0
LINGER_SECONDS = 1.0  # how long an idle connection stays open: the client may have sent a request already
POLL_SECONDS = 0.02


class Runner(AppRunner):
    """A runner that closes connections when their in-flight requests have been answered.

    aiohttp's runner loses requests and responses in three cases, which this runner handles:

    - A handler still waits for the rest of a body. aiohttp waits for the handler, but no longer reads the body.
    - A client reads slowly. aiohttp discards the data that the operating system has not accepted yet.
    - A connection is idle. aiohttp closes it at once, so that a request that the client has just sent fails.
    """

    connection_class = Connection

    async def cleanup(self) -> None:
        for site in list(self.sites):
            await site.stop()
        self.app[IN_FLIGHT].stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._drain()
        # Also resets streamed responses that wait for the database: their buffers are empty, but they are incomplete.
        for transport in {*self._sending(), *self.app[IN_FLIGHT].streams}:
            reset(transport)
        await super().cleanup()

    async def _drain(self) -> None:
        """Returns when all responses have been sent, and the connections have been idle for LINGER_SECONDS."""
        loop = asyncio.get_running_loop()
        idle_since = loop.time()
        while self._is_busy() or (self._transports() and loop.time() < idle_since + LINGER_SECONDS):
            if self._is_busy():
                idle_since = loop.time()
            await asyncio.sleep(POLL_SECONDS)  # no event reports that a transport has sent everything

    def _is_busy(self) -> bool:
        return self.app[IN_FLIGHT].requests > 0 or bool(self._sending())

    def _sending(self) -> list[asyncio.Transport]:
        """The connections with data that the operating system has not accepted yet."""
        return [transport for transport in self._transports() if transport.get_write_buffer_size()]

    def _transports(self) -> list[asyncio.Transport]:
        connections = self.server.connections if self.server else []
        return [connection.transport for connection in connections if connection.transport]
