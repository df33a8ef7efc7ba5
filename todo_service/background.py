"""Background tasks of a worker: sending, connecting, deadlines, log. If one of them fails, the worker ends.

If the worker continued, calls would never time out, or lost connections would never be reopened. gunicorn starts
another worker.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)


class Background:
    """The background tasks and callbacks of one part of the service.

    If a task or callback fails, `on_failure` is called at once. The worker finishes its in-flight requests, and ends.
    """

    def __init__(self, on_failure: Callable[[], None] = lambda: None) -> None:
        self._on_failure = on_failure
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Starts a task that runs until `stop`. `name` identifies it in the log."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def run(self, function: Callable[..., None], *arguments: object) -> None:
        """Calls a function as a callback of the event loop. The loop itself would only log the function's errors."""
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - any error is a mistake of the service
            self.fail(function.__name__, error)

    def fail(self, name: str, error: BaseException) -> None:
        """Logs the error with its traceback, and ends the worker."""
        log.critical("%s failed in the background: this worker ends", name, exc_info=error)
        end_worker(name)
        self._on_failure()

    async def stop(self) -> None:
        """Cancels the tasks, and returns when they have ended."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.fail(task.get_name(), task.exception() or RuntimeError("it returned, but should run until stop()"))
        elif not self._stopping:
            self.fail(task.get_name(), RuntimeError("it was cancelled, but not by stop()"))


def end_worker(_failed: str) -> None:
    """Sends SIGTERM to this process: it answers its in-flight requests, and ends."""
    signal.raise_signal(signal.SIGTERM)
