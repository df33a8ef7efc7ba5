"""A PostgreSQL server with durable commits, which can be killed and started again under load."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil

from tests.support.postgres_servers import run_server
from todo_service.embedded.postgres import Postgres

CONNECTIONS = "-c", "max_connections=50"


class Cluster:
    """A PostgreSQL server. It creates its data folder if there is none. `options` are passed to `postgres`."""

    def __init__(self, data: Path, *options: str) -> None:
        self._data = data
        self._options = (*CONNECTIONS, *options)
        # PostgreSQL ends when its parent thread ends. A separate thread keeps the event loop free during a start.
        self._thread = ThreadPoolExecutor(1)
        self._resources = ExitStack()
        self._postgres: Postgres | None = None

    @property
    def url(self) -> str:
        """The server's DATABASE_URL, which changes with each start."""
        assert self._postgres, "the server is stopped"
        return self._postgres.url

    @property
    def socket(self) -> str:
        """The socket on which the server listens. Raises ConnectionRefusedError if the server is stopped."""
        if self._postgres is None:
            raise ConnectionRefusedError("the server is stopped")
        return f"{parse_qs(urlsplit(self.url).query)['host'][0]}/.s.PGSQL.5432"

    @property
    def cluster(self) -> Path:
        """The server's data directory."""
        return self._data / "postgres"

    def is_running(self) -> bool:
        """Whether the process of the server exists."""
        return self._postgres is not None and self._postgres.process.poll() is None

    async def start(self) -> None:
        """Starts the server, and returns as soon as it accepts connections. Raises EmbeddedError."""
        await self._in_thread(self._start)

    async def kill(self) -> None:
        """Kills all processes of the server, as a power failure would."""
        assert self._postgres
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._postgres.process.pid)
            for process in [server, *server.children()]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        await self.stop()

    async def stop(self) -> None:
        """Stops the server if it is still running."""
        await self._in_thread(self._resources.close)
        self._postgres = None

    async def close(self) -> None:
        """Stops the server, which then can't be started again."""
        await self.stop()
        self._thread.shutdown()

    async def accepts_connections(self) -> bool:
        """Whether a client can connect: the server runs, and has finished its recovery."""
        try:
            connection = await asyncpg.connect(self.url, timeout=30)
            await connection.close()  # fails if the server has just stopped
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        return True

    def _start(self) -> None:
        self._postgres = self._resources.enter_context(run_server(self._data, *self._options))

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)
