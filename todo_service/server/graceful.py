"""Stopping: requests that have begun are served to their end, also when bodies or answers are under way."""

import asyncio
from contextlib import suppress
from typing import cast

from aiohttp import web

from todo_service.http import TRAFFIC, reset
from todo_service.server.http_protocol import Server

DRAIN_SECONDS = 18.0
LINGER_SECONDS = 1.0  # until a client that has been told nothing yet may be taken for silent
POLL_SECONDS = 0.02


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
