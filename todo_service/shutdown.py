"""Stopping: requests that have begun are served to their end, also those whose body is still arriving."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

DRAIN_SECONDS = 18.0


@dataclass
class Traffic:
    """How many requests are being served; and while stopping, the event that there are none."""

    requests: int = 0
    drained: asyncio.Event | None = None

    def end(self) -> None:
        self.requests -= 1
        if self.drained and not self.requests:
            self.drained.set()


TRAFFIC = web.AppKey("traffic", Traffic)


@web.middleware
async def count_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keeps app[TRAFFIC]; while stopping, makes each answer the last on its connection."""
    traffic = request.app[TRAFFIC]
    traffic.requests += 1
    try:
        response = await handler(request)
    finally:
        traffic.end()
    if traffic.drained:
        response.force_close()
    return response


def count_until_sent(request: web.Request) -> None:
    """Counts a request whose answer is made while it is sent until it has been: the middleware would not."""
    traffic, task = request.app[TRAFFIC], asyncio.current_task()
    if task:  # of this request, which also sends the answer
        traffic.requests += 1
        task.add_done_callback(lambda _task: traffic.end())


class Runner(web.AppRunner):
    """An AppRunner that waits for its requests before it closes their connections.

    aiohttp waits for handlers, too, but ignores what connections still receive: a handler that reads a body then
    waits for it in vain.
    """

    async def cleanup(self) -> None:
        for site in list(self.sites):
            await site.stop()
        traffic = self.app[TRAFFIC]
        traffic.drained = asyncio.Event()
        if traffic.requests:
            with suppress(TimeoutError):
                await asyncio.wait_for(traffic.drained.wait(), DRAIN_SECONDS)
        await super().cleanup()
