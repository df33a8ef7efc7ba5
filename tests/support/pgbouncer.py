"""pgbouncer in transaction mode, between the tests' services and PostgreSQL. TEST_PGBOUNCER is its path."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import pytest

from todo_service.embedded.processes import run_child

PROGRAM = "TEST_PGBOUNCER"
"""The variable with the path of a pgbouncer. If it is set, the tests' services connect through it."""

DIRECTORY = "TEST_PGBOUNCER_DIRECTORY"
"""The variable with the directory of its socket: the first process of a run sets it, the others inherit it."""

PORT = "6432"

STOP = ((signal.SIGTERM, 10.0),)  # SIGTERM stops it at once, even with clients connected

POOLER_SETTINGS = {"DATABASE_STATEMENT_CACHE": "0"}
"""The settings of a service behind pgbouncer, as in docs/configuration.md."""

# Each transaction uses another server connection than the previous transaction. Unused connections are closed soon,
# because many tests have a database of their own.
CONFIGURATION = """
[databases]
* = host={server} port={server_port} user=todo_service

[pgbouncer]
listen_port = {port}
unix_socket_dir = {directory}
auth_type = any
pool_mode = transaction
default_pool_size = {size}
server_round_robin = 1
max_client_conn = 1000
server_idle_timeout = 1
server_login_retry = 1
log_connections = 0
log_disconnections = 0
"""

not_through_pgbouncer = pytest.mark.skipif(PROGRAM in os.environ, reason="needs a direct connection to PostgreSQL")


def pooled(url: str) -> str:
    """The URL of this database through the run's pgbouncer. Without one for its server, the URL is unchanged."""
    if DIRECTORY not in os.environ or _directory_of(url) != _directory_of(os.environ["TEST_DATABASE_URL"]):
        return url
    return behind(os.environ[DIRECTORY], url)


def behind(directory: str, url: str) -> str:
    """The URL of the same database through the pgbouncer whose socket is in this directory."""
    return urlunsplit(urlsplit(url)._replace(query=urlencode({"host": directory, "port": PORT})))


def socket_of(url: str) -> str:
    """The path of the socket in a URL, of PostgreSQL or pgbouncer."""
    return f"{_directory_of(url)}/.s.PGSQL.{_port_of(url)}"


def _directory_of(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("host", [""])[0]


def _port_of(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("port", ["5432"])[0]


@contextmanager
def run_pgbouncer(program: str, server_url: str, *, size: int = 24) -> Iterator[str]:
    """Runs pgbouncer for a PostgreSQL, with `size` server connections per database. Yields the socket's directory."""
    account: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="todo-service-pgbouncer-") as directory:
        if os.geteuid() == 0:  # pgbouncer refuses to run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
        configuration, log = Path(directory) / "pgbouncer.ini", Path(directory) / "log"
        server, server_port = _directory_of(server_url), _port_of(server_url)
        configuration.write_text(
            CONFIGURATION.format(server=server, server_port=server_port, port=PORT, directory=directory, size=size)
        )
        with (
            log.open("wb") as output,
            run_child([program, str(configuration)], STOP, stdout=output, stderr=output, **account) as process,
        ):
            _wait_for(process, f"{directory}/.s.PGSQL.{PORT}", log)
            yield directory


def _wait_for(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.connect(address)
            return
        time.sleep(0.02)
    raise RuntimeError(f"pgbouncer did not start: {log.read_text()}")
