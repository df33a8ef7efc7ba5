"""The log of requests: neither bodies nor tokens, and users only as a hash."""

import logging
import sys
import time
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import blake2b

from todo_service.operations.logfmt import TIME, Formatter
from todo_service.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Has everything that this process logs written to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


class RequestLog:
    """A line for each request."""

    def __init__(self, settings: Settings) -> None:
        self.level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._millisecond, self._stamp = 0, ""
        self._user = lru_cache(10_000)(
            partial(_user, blake2b((settings.jwt_secret or settings.database_url).encode()).digest())
        )

    def line(self, now: float, text: str, seconds: float, request_id: str, user_id: str | None) -> str:
        """A line for a request; `text` has level, method, route and status, `now` is in Unix time."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._stamp = f"{time.strftime(TIME, time.gmtime(now))}.{millisecond % 1000:03d}Z"
        user = "" if user_id is None else self._user(user_id)
        return f"time={self._stamp} {text} ms={seconds * 1000:.2f} request_id={request_id}{user}\n"

    def write(self, lines: list[str]) -> None:
        """Writes lines. Where nobody reads the log any more, serving goes on."""
        with suppress(OSError, ValueError, AttributeError):  # there may be no stderr
            sys.stderr.write("".join(lines))
            sys.stderr.flush()


def _user(key: bytes, user_id: str) -> str:
    """Tells users apart without telling who they are: nobody can try names without the key."""
    return f" user={blake2b(user_id.encode(), digest_size=8, key=key).hexdigest()}"
