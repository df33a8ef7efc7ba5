"""The log of requests: neither bodies nor tokens, and users only as a hash."""

import logging
import sys
import time
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import blake2b

from todo_service.observability.logfmt import TIME, Formatter
from todo_service.observability.metrics import Seen
from todo_service.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Has everything that this process logs written to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


class RequestLog:
    """A line for each request."""

    def __init__(self, settings: Settings) -> None:
        self._level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._user = lru_cache(10_000)(
            partial(_user, blake2b((settings.jwt_secret or settings.database_url).encode()).digest())
        )

    def write(self, seen: list[Seen]) -> None:
        """Writes lines for requests, the first of which ended first."""
        lines = []
        since_1970 = time.time() - time.perf_counter()
        next_stamp = 0.0
        for kind, began, ended, request_id, user_id in seen:
            if kind.level >= self._level:
                if ended >= next_stamp:  # once in a millisecond
                    milliseconds = int((since_1970 + ended) * 1000)
                    next_stamp = (milliseconds + 1) / 1000 - since_1970
                    stamp = f"{time.strftime(TIME, time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03d}Z"
                user = "" if user_id is None else self._user(user_id)
                lines.append(
                    f"time={stamp} {kind.text} ms={(ended - began) * 1000:.2f} request_id={request_id}{user}\n"
                )
        if lines:
            _write("".join(lines))


def _write(text: str) -> None:
    """Where nobody reads the log any more, serving goes on."""
    with suppress(OSError, ValueError, AttributeError):  # there may be no stderr
        sys.stderr.write(text)
        sys.stderr.flush()


def _user(key: bytes, user_id: str) -> str:
    """Tells users apart without telling who they are: nobody can try names without the key."""
    return f" user={blake2b(user_id.encode(), digest_size=8, key=key).hexdigest()}"
