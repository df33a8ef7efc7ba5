"""The log of requests: neither bodies nor tokens, and users only as a hash."""

import asyncio
import logging
import sys
import time
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import blake2b

from todo_service.operations.logfmt import TIME, Formatter
from todo_service.settings import Settings

FLUSH_SECONDS = 0.1
FLUSH_LINES = 500


def configure_logging(settings: Settings) -> None:
    """Has everything that this process logs written to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


class RequestLog:
    """Writes a line for each request, many at a time: a system call for each would cost more than the line."""

    def __init__(self, settings: Settings) -> None:
        self.level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._lines: list[str] = []
        self._second, self._stamp = 0, ""
        self._user = lru_cache(10_000)(
            partial(_user, blake2b((settings.jwt_secret or settings.database_url).encode()).digest())
        )

    def write(self, text: str, seconds: float, request_id: str, user_id: str | None) -> None:
        """Writes a line soon: within 0.1 s, or when 500 are there. `text` has level, method, route and status."""
        now = time.time()
        if not 0 <= now - self._second < 1:
            self._second = int(now)
            self._stamp = time.strftime(TIME, time.gmtime(now))
        user = "" if user_id is None else self._user(user_id)
        stamp = f"{self._stamp}.{int((now - self._second) * 1000):03d}Z"
        self._lines.append(f"time={stamp} {text} ms={seconds * 1000:.2f} request_id={request_id}{user}\n")
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Writes all that waits. Where nobody reads the log any more, serving goes on."""
        lines, self._lines = self._lines, []
        with suppress(OSError, ValueError):
            sys.stderr.write("".join(lines))
            sys.stderr.flush()


def _user(key: bytes, user_id: str) -> str:
    """Tells users apart without telling who they are: nobody can try names without the key."""
    return f" user={blake2b(user_id.encode(), digest_size=8, key=key).hexdigest()}"
