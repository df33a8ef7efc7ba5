"""The log of requests. It contains no bodies and no tokens. It identifies users by a hash only."""

import logging
import sys
import time
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import blake2b

from todo_service.observability.logfmt import TIME, Formatter
from todo_service.observability.metrics import RequestRecord
from todo_service.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Writes all log records of this process to stderr, in logfmt."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


class RequestLog:
    """Writes a line for each request."""

    def __init__(self, settings: Settings) -> None:
        self._level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._user = lru_cache(10_000)(
            partial(_user, blake2b((settings.jwt_secret or settings.database_url).encode()).digest())
        )

    def write(self, records: list[RequestRecord]) -> None:
        """Writes one line for each request. `records` must be in the order in which the requests ended."""
        lines = []
        since_1970 = time.time() - time.perf_counter()
        next_stamp = 0.0
        for series, began, ended, request_id, user_id in records:
            if series.level >= self._level:
                if ended >= next_stamp:  # formats the time at most once per millisecond
                    milliseconds = int((since_1970 + ended) * 1000)
                    next_stamp = (milliseconds + 1) / 1000 - since_1970
                    stamp = f"{time.strftime(TIME, time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03d}Z"
                user = "" if user_id is None else self._user(user_id)
                lines.append(
                    f"time={stamp} {series.text} ms={(ended - began) * 1000:.2f} request_id={request_id}{user}\n"
                )
        if lines:
            _write("".join(lines))


def _write(text: str) -> None:
    """Writes to stderr. Ignores errors: if stderr is closed, the service continues without a log."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _user(key: bytes, user_id: str) -> str:
    """A keyed hash that identifies a user. Without the key, the hashes of known user ids can't be computed."""
    return f" user={blake2b(user_id.encode(), digest_size=8, key=key).hexdigest()}"
