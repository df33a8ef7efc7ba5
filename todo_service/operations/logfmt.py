"""Logs in logfmt: lines that people read and machines parse. gunicorn's own, too, so this imports nothing of ours."""

import json
import logging
import re
import time
from contextvars import ContextVar

REQUEST_ID = ContextVar("request_id", default="")
"""The id of the request that is being served, so that all that is logged meanwhile has it."""

TIME = "%Y-%m-%dT%H:%M:%S"
PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)  # what needs no quotes


class Formatter(logging.Formatter):
    """One line for each record, whatever is in it."""

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
    return value if PLAIN.fullmatch(value) else json.dumps(value)
