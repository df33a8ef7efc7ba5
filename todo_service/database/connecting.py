"""Connecting to PostgreSQL: parallel attempts, retries after failures, and the settings of connections and sessions."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import asyncpg

from todo_service.library_internals import socket_of
from todo_service.settings import Settings

log = logging.getLogger(__name__)

BACKOFF = (0.1, 0.2, 0.4, 0.8, 1.0)
"""Seconds to wait after each failed attempt. The last value repeats, so the service reconnects within about 1 s."""

HEDGE_AFTER_SECONDS = 1.0
"""If an attempt to connect has no answer after this time, another attempt starts in parallel."""

LOCK_TIMEOUT = "100ms"
"""How long a statement waits for a row that another session has locked. The other calls of its batch wait as long."""

# If the other side is silent for 4 s, the operating system closes the connection. So calls that wait for an answer fail
# before DATABASE_TIMEOUT. TCP's retransmissions would take longer, because the pauses between them double each time.
TCP_OPTIONS = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 4000}

# The same options on the server. If the service closes a connection while the network is interrupted, the server isn't
# notified. Without these settings the server would keep the connection for two hours. PostgreSQL limits the number
# of connections.
SERVER_TCP_OPTIONS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


def server_settings(settings: Settings) -> dict[str, str]:
    """The settings that a connection is opened with. A pooler accepts application_name only."""
    names = {"application_name": "todo-service"}
    if settings.has_pooler:
        return names
    return names | session_settings(settings) | SERVER_TCP_OPTIONS


def begin_transaction(settings: Settings) -> str | None:
    """The SQL that begins a transaction with `session_settings` in one round trip. None without a pooler."""
    if not settings.has_pooler:
        return None
    values = session_settings(settings) | {
        # PostgreSQL ends the transaction even if a pooler doesn't notice that the service has disconnected.
        "idle_in_transaction_session_timeout": f"{settings.database_timeout}s",
    }
    return "; ".join(["BEGIN", *(f"SET LOCAL {name} = '{value}'" for name, value in values.items())])


def session_settings(settings: Settings) -> dict[str, str]:
    return {
        "plan_cache_mode": "force_generic_plan",
        "lock_timeout": LOCK_TIMEOUT,
        # The limit for each statement of a batch. It is less than DATABASE_TIMEOUT, after which the outcome is unknown.
        "statement_timeout": f"{settings.database_timeout * 900}ms",
        "jit": "off",
    }


class Reconnector:
    """Opens a connection when none is left, and retries with growing pauses. Senders call `wait_connected` to wait.

    `on_failure` is called with the error of each failed attempt. The pool keeps the new connection for a sender.
    """

    def __init__(self, pool: asyncpg.Pool, on_failure: Callable[[Exception], None]) -> None:
        self._pool = pool
        self._on_failure = on_failure
        self._is_needed = asyncio.Event()
        self._is_connected = asyncio.Event()
        self.start()

    def start(self) -> None:
        """Call this when the last connection was lost."""
        self._is_connected.clear()
        self._is_needed.set()

    async def wait_connected(self) -> None:
        """Returns as soon as a connection has been opened."""
        await self._is_connected.wait()

    async def run(self) -> None:
        """Opens a connection after each call of `start`. Runs until it is cancelled."""
        while True:
            await self._is_needed.wait()
            failures = 0
            while not await self._connect(BACKOFF[min(failures, len(BACKOFF) - 1)]):
                failures += 1
            if failures:
                log.info("the database is reachable again")
            self._is_needed.clear()
            self._is_connected.set()

    async def _connect(self, pause: float) -> bool:
        try:
            async with self._pool.acquire():
                return True
        except Exception as error:  # noqa: BLE001 - after any error there is no connection
            log_failure(log, error, "the database is unreachable (%s); next attempt in %g s", pause)
            self._on_failure(_to_outage(error))
        await asyncio.sleep(pause)
        return False


def log_failure(logger: logging.Logger, error: Exception, message: str, *values: object) -> None:
    """Logs a failed attempt to connect, with a traceback if it may be a mistake of the service.

    The first %s of the message is the reason, the others are the values.
    """
    reason = f"{type(error).__name__}: {error}" if str(error) else "it does not answer"
    logger.warning(message, reason, *values, exc_info=None if isinstance(_to_outage(error), OSError) else error)


def _to_outage(error: Exception) -> Exception:
    """Turns an error of PostgreSQL or asyncpg into a ConnectionError, because no connection was opened.

    Returns other errors unchanged. An OSError means an outage. Any other error, for example ClientConfigurationError,
    means a mistake of the service.
    """
    if isinstance(error, asyncpg.ClientConfigurationError):
        return error
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return ConnectionError(f"{type(error).__name__}: {error}")
    return error


async def connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
    """asyncpg.connect with parallel attempts (hedging): a new one starts after each second without an answer.

    Returns the connection of the attempt that ends first, or raises its error. After an interruption of the network, a
    new attempt is faster than an old one, because TCP doubles its pauses between retransmissions. So each new attempt
    replaces the previous one, except the first attempt, which may just be slow.
    """

    def begin() -> asyncio.Task[asyncpg.Connection]:
        return asyncio.create_task(_connect(*arguments, **options))

    attempts = [begin()]
    ended = None
    try:
        while ended is None:
            done, _ = await asyncio.wait(attempts, timeout=HEDGE_AFTER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if done:
                ended = done.pop()
            else:
                await _cancel(attempts[1:])
                attempts[1:] = [begin()]
    finally:
        await _cancel([attempt for attempt in attempts if attempt is not ended])
    connection = ended.result()
    _set_tcp_options(connection)
    return connection


async def _connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
    connection: asyncpg.Connection = await asyncpg.connect(*arguments, **options)
    if options.get("statement_cache_size") == 0:  # a pooler accepts connections even if it can't reach PostgreSQL
        try:
            await connection.execute("SELECT 1", timeout=options.get("timeout"))
        except BaseException:
            connection.terminate()
            raise
    return connection


async def _cancel(attempts: list[asyncio.Task[asyncpg.Connection]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, asyncpg.Connection):
            outcome.terminate()


def _set_tcp_options(connection: asyncpg.Connection) -> None:
    """Sets the TCP_OPTIONS that the operating system supports, except on a Unix socket."""
    sock = socket_of(connection)
    if sock.fileno() == -1:
        raise ConnectionResetError("the connection was lost as soon as it was open")
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in TCP_OPTIONS.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
