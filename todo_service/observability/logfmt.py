"""Logs in logfmt. gunicorn's master process uses this module, so it imports no other module of the service."""

import json
import logging
import re
import time
from contextvars import ContextVar

TIME = "%Y-%m-%dT%H:%M:%S"
UNQUOTED = re.compile(r"[\w./:+-]+", re.ASCII)

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the current request, for log records."""


class Formatter(logging.Formatter):
    """One line for each record."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": f"{self.formatTime(record, TIME)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            fields["request_id"] = request_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: str) -> str:
    return value if UNQUOTED.fullmatch(value) else json.dumps(value)
