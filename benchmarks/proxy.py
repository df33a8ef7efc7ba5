"""A slow network: passes TCP connections on, and each answer a while after it came.

`python -m benchmarks.proxy LISTEN_PORT TARGET_PORT MILLISECONDS`. Threads that sleep, because the timers of an event
loop go off up to a millisecond late. What is sent while something waits is not held up by it: that is a delay, not a
limit.
"""

import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

CHUNK = 1 << 18

Chunk = tuple[float, bytes]  # when it is due, by the monotonic clock; and what it is


def main(arguments: list[str]) -> None:
    """Serves until it is killed."""
    listen_port, target_port, delay = int(arguments[0]), int(arguments[1]), float(arguments[2]) / 1000
    with socket.create_server(("127.0.0.1", listen_port)) as server:
        while True:
            client = server.accept()[0]
            target = socket.create_connection(("127.0.0.1", target_port))
            for end in (client, target):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            waiting: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
            _start(_pass_on, client, target)
            _start(_receive, target, waiting, delay)
            _start(_deliver, client, waiting)


def _start(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    _end(target)


def _receive(source: socket.socket, waiting: queue.SimpleQueue[Chunk], delay: float) -> None:
    with suppress(OSError):
        while data := source.recv(CHUNK):
            waiting.put((time.monotonic() + delay, data))
    waiting.put((0.0, b""))


def _deliver(target: socket.socket, waiting: queue.SimpleQueue[Chunk]) -> None:
    with suppress(OSError):
        while True:
            due, data = waiting.get()
            if not data:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            target.sendall(data)
    _end(target)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1:])
