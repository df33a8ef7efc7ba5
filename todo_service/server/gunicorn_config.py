"""What gunicorn's master does for logs and metrics: `serve` names this as its configuration."""

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
    """gunicorn's, in the format of everything else, and without its logger's usual name, gunicorn.error."""

    def setup(self, cfg: Config) -> None:
        self.error_log = logging.getLogger("gunicorn")
        self.error_log.propagate = False
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(Formatter())


logger_class = LogfmtLogger


def child_exit(_server: Arbiter, worker: Any) -> None:
    """What a worker that is gone counted stays; what it had open does not."""
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: Arbiter) -> None:
    """The numbers of all workers end with the last one."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
