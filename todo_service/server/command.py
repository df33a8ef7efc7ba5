"""The command `serve`: this process becomes gunicorn, whose workers run the application."""

import errno
import os
import resource
import socket
import sys
import tempfile
from typing import NoReturn

from todo_service.settings import Settings, SettingsError

OPEN_FILE_LIMIT = 1_048_576
GRACE_SECONDS = 23  # longer than a worker's graceful shutdown; most platforms wait longer before they kill a service


def check_port(host: str, port: int) -> None:
    """Raises SettingsError if the service can't listen on this host and port. Call it before you start anything."""
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does: allows a port in TIME_WAIT
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"Port {port} on {host} is in use: stop the other program, or set PORT to another port."
            elif error.errno == errno.EACCES:
                reason = f"Port {port} on {host} is reserved for the administrator: set PORT to another port."
            else:
                reason = f"HOST must be an address of this machine, not {host!r}: {error.strerror}."
            raise SettingsError(reason) from None


def authority(settings: Settings) -> str:
    """Host and port as in a URL (RFC 3986, section 3.2): an IPv6 address in brackets."""
    host = f"[{settings.host.strip('[]')}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def serve(settings: Settings) -> NoReturn:
    """Replaces this process with gunicorn.

    HUP restarts the workers, TERM stops them gracefully. Raises SettingsError.
    """
    check_port(settings.host, settings.port)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _make_metrics_directory()
    _raise_file_limit()
    arguments = {
        "--bind": authority(settings),
        "--workers": str(settings.web_concurrency),
        "--worker-class": "todo_service.server.worker.Worker",
        "--graceful-timeout": str(GRACE_SECONDS),
        "--log-level": settings.log_level,
        "--config": "python:todo_service.server.gunicorn_config",
    }
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "todo_service.server.runner:create_runner"]
    for name, value in arguments.items():
        command += [name, value]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is needed


def _make_metrics_directory() -> str:
    """Creates the directory in which the workers share their metrics."""
    try:
        return tempfile.mkdtemp(prefix="todo-service-metrics-")
    except OSError as error:
        reason = f"There is no directory for temporary files: set TMPDIR to a writable directory ({error})."
        raise SettingsError(reason) from None


def _raise_file_limit() -> None:
    """Raises the limit of open files, and so of connections. Many shells start processes with a limit of 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = OPEN_FILE_LIMIT if hard == resource.RLIM_INFINITY else min(OPEN_FILE_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
