"""gunicorn's configuration, which command.py passes to it: logs in logfmt, and removal of the metrics' files."""

import logging
import os
import shutil
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from prometheus_client.multiprocess import mark_process_dead

from todo_service.observability.logfmt import Formatter


class LogfmtLogger(Logger):
    """gunicorn's logger, which writes logfmt. Its name is gunicorn, not gunicorn.error as usual."""

    def setup(self, cfg: Config) -> None:
        self.error_log = logging.getLogger("gunicorn")
        self.error_log.propagate = False
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(Formatter())


logger_class = LogfmtLogger


def child_exit(_server: Arbiter, worker: Any) -> None:
    """Removes the gauges of a worker that has ended. Its counters stay."""
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: Arbiter) -> None:
    """Removes the files of the metrics."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
