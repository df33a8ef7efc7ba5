"""`todo-service serve --embedded`: runs PostgreSQL and the service as child processes, until a signal arrives."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

from todo_service.auth import sign_token
from todo_service.database import migrate
from todo_service.embedded.postgres import DATA, EmbeddedError, Postgres, run_postgres, signing_secret
from todo_service.embedded.processes import check_signals, pause, run_child, signals_held
from todo_service.server.command import authority, check_port
from todo_service.settings import VARIABLES, Settings, is_loopback, read_settings

START_LIMIT = 30.0
"""Seconds that the service may take until it is ready."""

STOP_SERVICE = ((signal.SIGTERM, 25.0),)


def serve_embedded() -> int:
    """Starts PostgreSQL, migrates, starts the service, and waits for a signal.

    Returns the exit code. Raises EmbeddedError, SettingsError or MigrationError after everything was stopped.
    """
    settings = _complete_settings()
    check_port(settings.host, settings.port)
    token = _demo_token(settings)
    with signals_held():
        try:
            with run_postgres(DATA) as postgres:
                asyncio.run(_migrate(postgres.url))
                environment = os.environ | {"DATABASE_URL": postgres.url, VARIABLES["docs_token"].name: token}
                command = [sys.executable, "-m", "todo_service", "serve"]
                with run_child(command, STOP_SERVICE, env=environment, stdin=subprocess.DEVNULL) as service:
                    _wait_until_ready(settings, service, postgres)
                    print(_banner(settings, token), flush=True)
                    while True:
                        _check_alive(service, postgres)
                        pause(0.2)
        except KeyboardInterrupt:
            return 0


async def _migrate(url: str) -> None:
    migration = asyncio.create_task(migrate(url, report=partial(print, flush=True)))
    while not migration.done():
        await asyncio.wait([migration], timeout=0.1)
        check_signals()
    await migration


def _complete_settings() -> Settings:
    """Completes the environment, which the service inherits, and reads it before anything is started."""
    if os.environ.get("DYNO"):
        raise EmbeddedError(
            "--embedded keeps data on this machine's disk, which a dyno loses: "
            "set DATABASE_URL and run `todo-service serve`."
        )
    host = (os.environ.get("HOST") or "127.0.0.1").strip("[]")
    if not is_loopback(host):
        raise EmbeddedError(f"HOST must be a loopback address like 127.0.0.1 with --embedded, not {host!r}.")
    os.environ["HOST"] = host
    if os.environ.get("DATABASE_URL"):
        print("DATABASE_URL is set, but not used: --embedded has its own database.")
    sources = ("JWT_SECRET", "BETTER_AUTH_SECRET", "JWT_JWKS_URL")
    if not any(os.environ.get(source) for source in sources):
        os.environ["JWT_SECRET"] = signing_secret(DATA)
    return read_settings(*(name for name in VARIABLES if name != "database_url"))


def _wait_until_ready(settings: Settings, service: subprocess.Popen[bytes], postgres: Postgres) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        _check_alive(service, postgres)
        connection = http.client.HTTPConnection(settings.host, settings.port, timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        pause(0.05)
    raise EmbeddedError(f"The service was not ready within {START_LIMIT:.0f} seconds; its messages are above.")


def _check_alive(service: subprocess.Popen[bytes], postgres: Postgres) -> None:
    if postgres.process.poll() is not None:
        log = DATA / "postgres.log"
        raise EmbeddedError(f"PostgreSQL ended by itself, so the service was stopped too; see {log}.")
    if service.poll() is not None:
        raise EmbeddedError("The service ended by itself, so PostgreSQL was stopped too; its messages are above.")


def _demo_token(settings: Settings) -> str:
    """A token of the user demo. Empty if tokens come from an issuer."""
    if settings.jwt_jwks_url:
        return ""
    return sign_token(settings.jwt_secret, "demo", 30, issuer=settings.jwt_issuer, audience=settings.jwt_audience)


def _banner(settings: Settings, token: str) -> str:
    url = f"http://{authority(settings)}"
    lines = ["", f"todo-service is ready on {url}"]
    if settings.docs == "on":
        lines += [f"documentation: {url}/docs"]
    if not token:
        lines += [f"tokens come from the issuer with the keys at {settings.jwt_jwks_url}"]
    else:
        task = json.dumps({"title": "Buy milk"})
        lines += [
            f"token of the user demo, valid for 30 days: {token}",
            "create a task:",
            f"curl -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{task}' {url}/api/tasks",
        ]
    return "\n".join([*lines, f"data directory: {DATA.resolve()}", "Press Ctrl-C to stop.", ""])
