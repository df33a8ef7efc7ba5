"""Secrets: no response, log, help text or command line of a process contains a secret."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil
import pytest
from aiohttp import ClientSession

from tests.support.processes import TEST_TIMEOUT, free_port, run_command, served
from tests.support.service_role import grant_service
from todo_service.__main__ import main
from todo_service.auth.tokens import sign_token
from todo_service.database.migrations import migrate

pytestmark = pytest.mark.database

CallCommand = Callable[..., tuple[int, str]]

SECRET = "needle-secret-" + "s" * 40
PREVIOUS = "needle-previous-" + "p" * 40
PASSWORD = "needle-password"
DOCS_TOKEN = "needle-docs-token"
METRICS_TOKEN = "needle-metrics-token-" + "m" * 32
TOKEN = sign_token(SECRET, "needle-user", days=1)
FORGED = sign_token("another secret, which is long enough, too", "needle-user", days=1)
TITLE = "needle-title"
NEEDLES = ["needle", TOKEN.rpartition(".")[2], FORGED.rpartition(".")[2], FORGED.split(".")[1]]

ENVIRONMENT = {
    "JWT_SECRET": SECRET,
    "JWT_SECRET_PREVIOUS": PREVIOUS,
    "EMBEDDED_DOCS_TOKEN": DOCS_TOKEN,
    "METRICS_TOKEN": METRICS_TOKEN,
    "HOST": "127.0.0.1",
    "LOG_LEVEL": "debug",
}

WITH_TOKEN = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
MALFORMED = [
    f"GET /api/tasks {WITH_TOKEN}X\0: y\r\n\r\n",
    f"GET /api/tasks {WITH_TOKEN.replace('Authorization:', 'Authorization :')}\r\n",
    f"GET /api/tasks {WITH_TOKEN.replace(TOKEN, TOKEN + chr(0))}\r\n",
    f"GET /{TOKEN} HTTP/2.0\r\nHost: x\r\n\r\n",
    f"GET /{TOKEN}\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    f"{TOKEN} / HTTP/1.1\r\nHost: x\r\n\r\n",
    f"POST /api/tasks {WITH_TOKEN}Transfer-Encoding: chunked\r\n\r\n{TITLE}\r\n",
    f"POST /api/tasks {WITH_TOKEN}Content-Length: 99\r\n\r\n{TITLE}",
]


def with_password(url: str, user: str = "todo_service") -> str:
    """The address with a password. The tests' server doesn't check it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))


def needles_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if any(needle in line for needle in NEEDLES)]


def command_lines() -> Iterator[str]:
    """The command lines and names of all processes of this machine."""
    for process in psutil.process_iter(["cmdline", "name"]):
        yield " ".join([*(process.info["cmdline"] or []), process.info["name"]])


async def all_responses(url: str) -> str:
    """The responses to valid, forged and malformed requests. A response that may quote the query is left out."""
    responses = []
    async with ClientSession(url) as session:
        for token in (TOKEN, FORGED, f"{TOKEN}x", DOCS_TOKEN, SECRET):
            headers = {"Authorization": f"Bearer {token}"}
            for method, path, body in (
                ("GET", "/api/tasks", None),
                ("GET", f"/api/tasks?{token}={token}"[:200], None),
                ("GET", f"/api/tasks/{SECRET}", None),
                ("POST", "/api/tasks", {"title": "break", "description": TITLE}),
                ("POST", "/api/tasks", {"title": "x", "priority": TITLE}),
                ("DELETE", "/api/me", None),
                ("PUT", "/health", None),
                ("GET", "/health/ready", None),
                ("GET", "/metrics", None),
            ):
                data = None if body is None else json.dumps(body)
                async with session.request(
                    method, path, data=data, headers={**headers, "Content-Type": "application/json"}
                ) as response:
                    if "?" not in path:
                        responses.append(await response.text() + str(response.headers))
    _, host, port = url.replace("//", "").split(":")
    for request in MALFORMED:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request.encode())
        writer.write_eof()
        responses.append((await asyncio.wait_for(reader.read(), timeout=TEST_TIMEOUT)).decode())
        writer.close()
    return "\n".join(responses)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CallCommand:
    """Calls the command with arguments and settings, and returns its exit status and its output."""

    def call(*arguments: str, **variables: str) -> tuple[int, str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            status = main(arguments)
        except SystemExit as exit_:  # of argparse
            status = int(exit_.code or 0)
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


@pytest.fixture
async def database(empty_database: str) -> str:
    """A database in which a task with the title `break` violates a constraint: an internal error of the service."""
    await migrate(empty_database, lambda _line: None)
    connection = await asyncpg.connect(empty_database)
    await connection.execute("ALTER TABLE tasks ADD CONSTRAINT fragile CHECK (title <> 'break')")
    await connection.close()
    return with_password(await grant_service(empty_database))


async def test_no_response_log_or_command_line_contains_a_secret(database: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served(log, DATABASE_URL=database, WEB_CONCURRENCY="2", **ENVIRONMENT) as (process, url):
        responses = await all_responses(url)
        assert len(psutil.Process(process.pid).children(recursive=True)) >= 2
        assert [line for line in command_lines() if needles_in(line)] == []
    assert needles_in(responses) == []
    assert needles_in(log.read_text()) == []
    assert "/problems#internal-error" in responses
    assert "CheckViolationError" in log.read_text()
    assert "violates check constraint" in log.read_text()  # the log leaves out the row that PostgreSQL quotes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["closed port", "unknown host", "wrong password", "missing database"])
async def test_no_response_or_log_without_a_database_contains_a_secret(
    guarded_server: str, tmp_path: Path, kind: str
) -> None:
    address = {
        "closed port": f"postgres://todo:{PASSWORD}@127.0.0.1:{free_port()}/d",
        "unknown host": f"postgres://todo:{PASSWORD}@no-such-host.invalid/d",
        "wrong password": with_password(guarded_server, "guarded"),
        "missing database": with_password(urlunsplit(urlsplit(guarded_server)._replace(path="/missing")), "postgres"),
    }[kind]
    log = tmp_path / "log"
    with served(log, DATABASE_URL=address, DATABASE_TIMEOUT="2", **ENVIRONMENT) as (_, url):
        responses = await all_responses(url)
    assert "/problems#unavailable" in responses
    assert "the database is unreachable (" in log.read_text()
    assert needles_in(responses + log.read_text()) == []


@pytest.mark.parametrize(
    "invalid",
    [
        {"JWT_SECRET": "needle"},
        {"JWT_SECRET_PREVIOUS": "needle"},
        {"BETTER_AUTH_SECRET": "needle", "JWT_SECRET": ""},
        {"JWT_SECRET": f"-----BEGIN PUBLIC KEY-----\nneedle{'x' * 40}\n-----END PUBLIC KEY-----"},
        {"DATABASE_URL": f"postgres://todo:{PASSWORD}@a@b/d"},
        {"DATABASE_URL": f"mysql://todo:{PASSWORD}@host/d"},
        {"DATABASE_URL": f"postgres://todo:{PASSWORD}@host:x/d"},
        {"DATABASE_URL": PASSWORD},
        {"JWT_JWKS_URL": "https://id.example/keys"},
        {"PORT": "x"},
        {"JWT_ALGORITHMS": "RS256"},
    ],
    ids=lambda invalid: str(invalid)[:60],
)
def test_an_invalid_setting_is_reported_without_its_secret(call: CallCommand, invalid: dict[str, str]) -> None:
    good = {**ENVIRONMENT, "DATABASE_URL": f"postgres://todo:{PASSWORD}@host/d"}
    status, printed = call("serve", **{**good, **invalid})
    assert status == 1
    assert next(iter(invalid)) in printed
    assert needles_in(printed) == []


@pytest.mark.parametrize("arguments", [(), ("serve",), ("migrate",), ("token",), ("openapi",)])
def test_help_and_usage_contain_no_secret(call: CallCommand, arguments: tuple[str, ...]) -> None:
    variables = {**ENVIRONMENT, "DATABASE_URL": f"postgres://todo:{PASSWORD}@host/d"}
    for option, expected in (("--help", 0), ("--unknown", 2)):
        status, printed = call(*arguments, option, **variables)
        assert (status, needles_in(printed)) == (expected, [])


def test_a_failed_migration_prints_no_secret() -> None:
    ran = run_command(
        "migrate", cwd=None, **ENVIRONMENT, DATABASE_URL=f"postgres://todo:{PASSWORD}@127.0.0.1:{free_port()}/d"
    )
    assert ran.returncode == 1
    assert needles_in(ran.stdout + ran.stderr) == []
