"""Getting connections to PostgreSQL: past a network that lost what was sent, and again and again while it is away."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import asyncpg

from todo_service.library_internals import socket_of

log = logging.getLogger(__name__)

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.0)
"""Seconds after each failed attempt, the last one again and again: what returns is to be noticed within a second."""

FRESH_SECONDS = 1.0
"""How long an attempt to connect may be without an answer before another one begins beside it."""

# What the system does about connections whose other side is silent: after 4 s they are lost. Then requests that wait
# for an answer needn't wait until DATABASE_TIMEOUT, and TCP doesn't wait for twice as long each time to send once more.
TCP_OPTIONS = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 4000}

# What the server is to do about ours: it never hears of a connection that was given up while the network lost
# everything, and would keep it, of the few that it has, for as long as its system is patient, which is two hours.
SERVER_TCP_OPTIONS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


class Search:
    """Connects while there is no connection, at growing intervals; who needs one waits until it is `found`.

    `failed` is told of every attempt that failed. The connection stays in the pool, for the first who takes it.
    """

    def __init__(self, pool: asyncpg.Pool, failed: Callable[[Exception], None]) -> None:
        self._pool = pool
        self._failed = failed
        self._lost = asyncio.Event()
        self._found = asyncio.Event()
        self.begin()

    def begin(self) -> None:
        """The last connection was lost, or there was none yet."""
        self._found.clear()
        self._lost.set()

    async def found(self) -> None:
        """Returns when the database is there, as far as one knows."""
        await self._found.wait()

    async def run(self) -> None:
        """Searches whenever it must, for ever."""
        while True:
            await self._lost.wait()
            failures = 0
            while not await self._is_there(PAUSES[min(failures, len(PAUSES) - 1)]):
                failures += 1
            if failures:
                log.info("the database is back")
            self._lost.clear()
            self._found.set()

    async def _is_there(self, pause: float) -> bool:
        try:
            async with self._pool.acquire():
                return True
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no connection
            log_failure(log, error, "the database is away (%s); next attempt in %g s", pause)
            self._failed(_outage(error))
        await asyncio.sleep(pause)
        return False


def log_failure(logger: logging.Logger, error: Exception, message: str, *values: object) -> None:
    """Logs that an attempt to connect failed, with a traceback if that may be a mistake of the service.

    The first %s of the message is the reason, the others are the values.
    """
    reason = f"{type(error).__name__}: {error}" if str(error) else "it does not answer"
    logger.warning(message, reason, *values, exc_info=None if isinstance(_outage(error), OSError) else error)


def _outage(error: Exception) -> Exception:
    """Turns errors of PostgreSQL and asyncpg into a ConnectionError: an attempt that ends with one has no connection.

    Returns other errors unchanged: they are mistakes, and so is a wrong configuration of the connection.
    """
    if isinstance(error, asyncpg.ClientConfigurationError):
        return error
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return ConnectionError(f"{type(error).__name__}: {error}")
    return error


async def connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
    """asyncpg.connect, but without an answer another attempt begins each second; the first one to end counts.

    What was sent while the network lost everything is sent again only many seconds after it is back, because TCP
    doubles its pauses; a new attempt is faster. The first one goes on beside the newest: it may only be slow.
    """

    def begin() -> asyncio.Task[asyncpg.Connection]:
        return asyncio.create_task(_connect(*arguments, **options))

    attempts = [begin()]
    ended = None
    try:
        while ended is None:
            done, _ = await asyncio.wait(attempts, timeout=FRESH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if done:
                ended = done.pop()
            else:
                await _give_up(attempts[1:])
                attempts[1:] = [begin()]
    finally:
        await _give_up([attempt for attempt in attempts if attempt is not ended])
    connection = ended.result()
    _notice_losses(connection)
    return connection


async def _connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
    connection: asyncpg.Connection = await asyncpg.connect(*arguments, **options)
    if options.get("statement_cache_size") == 0:  # a pooler, which takes us also while it has no server
        try:
            await connection.execute("SELECT 1", timeout=options.get("timeout"))
        except BaseException:
            connection.terminate()
            raise
    return connection


async def _give_up(attempts: list[asyncio.Task[asyncpg.Connection]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, asyncpg.Connection):
            outcome.terminate()


def _notice_losses(connection: asyncpg.Connection) -> None:
    """Sets TCP_OPTIONS where the system has them; a Unix socket needs none."""
    sock = socket_of(connection)
    if sock.fileno() == -1:
        raise ConnectionResetError("the connection was lost as soon as it was open")
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in TCP_OPTIONS.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
