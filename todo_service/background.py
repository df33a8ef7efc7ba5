"""Tasks that run for as long as a worker does. If one of them fails, the worker ends, and gunicorn starts another one.

A worker without them would still answer, but no call would time out, or no lost connection would be opened again.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from functools import partial

log = logging.getLogger(__name__)


def run_in_background(
    work: Coroutine[None, None, None], name: str, on_failure: Callable[[BaseException], None] | None = None
) -> asyncio.Task[None]:
    """Starts a task that runs until it is cancelled; `name` says in the log what it is for.

    `on_failure` gets its error, to do what can't wait until the worker has ended.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(partial(_end_worker_if_failed, on_failure=on_failure))
    return task


def end_worker(_failed: str) -> None:
    """Ends this process as SIGTERM does: requests in flight are answered first."""
    signal.raise_signal(signal.SIGTERM)


def _end_worker_if_failed(task: asyncio.Task[None], on_failure: Callable[[BaseException], None] | None) -> None:
    if task.cancelled():
        return
    error = task.exception() or RuntimeError("it returned, which it never should")
    log.critical("the background task %r failed: this worker ends", task.get_name(), exc_info=error)
    end_worker(task.get_name())
    if on_failure is not None:
        on_failure(error)
