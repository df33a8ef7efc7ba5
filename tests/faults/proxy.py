"""The network between service and database: a TCP proxy that a test can cut, freeze, slow down or make lossy."""

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

from todo_service.database.connecting import SERVER_TCP_OPTIONS

CHUNK = 65_536

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # Python has no names for these Linux constants
DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF `return 0`: keep 0 bytes of a packet
DROP_ALL_PROGRAM = struct.pack("HxxxxxxP", 1, ctypes.addressof(DROP_ALL))


class Proxy:
    """Listens on a port, and forwards each connection to the socket that `target` returns at that time."""

    def __init__(self, target: Callable[[], str]) -> None:
        self._target = target
        self._passes = asyncio.Event()
        self._passes.set()
        self._discards = False
        self._delay = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, sock=self._listener)

    async def close(self) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Resets all connections on both sides, like a router that lost its state."""
        for writer in self._writers:
            writer.transport.abort()

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Accepts connections. Holds all data back until the end of the block."""
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    @asynccontextmanager
    async def discarding(self) -> AsyncIterator[None]:
        """Accepts connections. Discards all data that arrives, although TCP acknowledges it."""
        self._discards = True
        try:
            yield
        finally:
            self._discards = False

    @asynccontextmanager
    async def losing(self) -> AsyncIterator[None]:
        """Loses all packets, also of new connections: TCP acknowledges nothing, as if a cable were unplugged."""
        for sock in self._sockets():
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, DROP_ALL_PROGRAM)
        self._passes.clear()  # packets from the database are lost, too
        try:
            yield
        finally:
            for sock in self._sockets():
                with suppress(OSError):  # a new connection has no filter
                    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            self._passes.set()

    @asynccontextmanager
    async def slow(self, seconds: float) -> AsyncIterator[None]:
        """Delays all data by this number of seconds, in each direction."""
        self._delay = seconds
        try:
            yield
        finally:
            self._delay = 0.0

    def _sockets(self) -> Iterator[socket.socket]:
        yield self._listener
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family == socket.AF_INET and sock.fileno() >= 0:
                yield sock

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with suppress(OSError):  # if the server is stopped, the connection is closed
                await self._connect(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _keep_alive(writer)
        await self._passes.wait()
        server_reader, server_writer = await asyncio.open_unix_connection(self._target())
        both = {writer, server_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                for source, target in ((reader, server_writer), (server_reader, writer)):
                    arrived: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
                    group.create_task(self._receive(source, arrived))
                    group.create_task(self._deliver(arrived, target))
        except* OSError:
            pass
        finally:
            self._writers -= both
            server_writer.transport.abort()

    async def _receive(self, source: asyncio.StreamReader, arrived: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        data = b"more"
        while data:
            try:
                data = await source.read(CHUNK)
            except OSError:
                data = b""
            if not self._discards or not data:
                arrived.put_nowait((loop.time() + self._delay, data))

    async def _deliver(self, arrived: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await arrived.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await self._passes.wait()
            if not data:
                target.close()
                return
            target.write(data)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Sets the TCP options that PostgreSQL would set without the proxy."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(SERVER_TCP_OPTIONS["tcp_keepalives_idle"]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, int(SERVER_TCP_OPTIONS["tcp_keepalives_interval"]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, int(SERVER_TCP_OPTIONS["tcp_keepalives_count"]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SERVER_TCP_OPTIONS["tcp_user_timeout"]))
