"""The command line: its help, the commands `migrate` and `token`, and how errors are reported."""

from pathlib import Path

import jwt
import pytest

from tests.support.pgbouncer import not_through_pgbouncer
from tests.support.postgres_servers import session
from tests.support.processes import SECRET, UP_TO_DATE, answers, refused_command, run_command, served
from todo_service import __version__
from todo_service.__main__ import main

UNREACHABLE = "postgres://user:hidden@127.0.0.1:1/none"


def test_version_prints_the_version_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"todo-service {__version__}\n"


def test_help_lists_the_commands_and_the_required_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for command in ("serve", "migrate", "token", "--embedded", "DATABASE_URL", "JWT_SECRET"):
        assert command in text


@pytest.mark.parametrize("arguments", ["", "dance", "token", "token --user", "token --user=x --days=y"])
def test_invalid_arguments_print_the_usage(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    assert "usage: todo-service" in capsys.readouterr().err


def test_serve_without_settings_names_the_missing_setting_and_the_option_embedded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = refused_command(capsys, "serve")
    assert "DATABASE_URL is not set" in text
    assert "--embedded" in text


def test_migrate_without_a_database_url_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "DATABASE_URL is not set" in refused_command(capsys, "migrate")


def test_migrate_fails_if_the_database_is_unreachable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", UNREACHABLE)
    assert "can't be reached" in refused_command(capsys, "migrate")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"JWT_SECRET": SECRET, "COMPRESSION": "gzip"}, "COMPRESSION must be on or off, not 'gzip'."),
        ({"JWT_SECRET": SECRET, "PORT": "http"}, "PORT must be a whole number from 1 to 65535, not 'http'."),
        ({"BETTER_AUTH_SECRET": "hidden"}, "BETTER_AUTH_SECRET must be at least 32 bytes long"),
        ({"JWT_SECRET": SECRET, "JWT_JWKS_URL": "https://id.example/keys"}, "JWT_JWKS_URL are both set"),
        ({"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "RS256"}, "JWT_ALGORITHMS must be HS256 with a secret"),
        (
            {"JWT_SECRET": SECRET, "CORS_ORIGINS": "https://a.example/"},
            "write https://a.example, not 'https://a.example/'.",
        ),
        ({"JWT_SECRET": SECRET, "DATABASE_URL": f"{UNREACHABLE}?hostaddr=1"}, "without the parameter hostaddr"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_serve_and_migrate_refuse_a_wrong_setting_before_they_connect(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    variables: dict[str, str],
    sentence: str,
) -> None:
    for name, value in ({"DATABASE_URL": UNREACHABLE} | variables).items():
        monkeypatch.setenv(name, value)
    text = refused_command(capsys, command)
    assert sentence in text
    assert text.count("\n") == 1
    assert "hidden" not in text


@pytest.mark.parametrize(
    "variables", [{}, {"JWT_SECRET": SECRET}, {"JWT_ALGORITHMS": "RS256"}, {"WEB_CONCURRENCY": "2"}]
)
def test_migrate_needs_only_the_database_url(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in ({"DATABASE_URL": UNREACHABLE} | variables).items():
        monkeypatch.setenv(name, value)
    assert "can't be reached" in refused_command(capsys, "migrate")


@pytest.mark.database
def test_serve_and_migrate_reach_the_database_with_an_address_of_other_tools(
    database_url: str, service_database_url: str, tmp_path: Path
) -> None:
    parameters = "&schema=public&connection_limit=5&connect_timeout=9&ssl=false&timezone=Europe/Rome"
    migrated = run_command("migrate", DATABASE_URL=database_url + parameters)
    assert (migrated.returncode, migrated.stdout, migrated.stderr) == (0, f"{UP_TO_DATE}\n", "")
    with served(tmp_path / "log", DATABASE_URL=service_database_url + parameters) as (_, url):
        assert answers(f"{url}/health/ready")


@pytest.mark.database
@not_through_pgbouncer  # it refuses search_path
@pytest.mark.parametrize("setting", ["search_path=todo", "options=-csearch_path%3Dtodo"])
async def test_serve_and_migrate_use_the_schema_of_search_path(
    empty_database: str, tmp_path: Path, setting: str
) -> None:
    url = f"{empty_database}&{setting}"
    async with session(empty_database) as connection:
        await connection.execute("CREATE SCHEMA todo")
        # With DATABASE_STATEMENT_CACHE=0, the service uses a pooler. migrate has the database's own address.
        assert run_command("migrate", DATABASE_URL=url, DATABASE_STATEMENT_CACHE="0").returncode == 0
        assert await connection.fetchval("SELECT count(*) FROM todo.tasks") == 0
        assert await connection.fetchval("SELECT to_regclass('public.tasks')") is None
    with served(tmp_path / "log", DATABASE_URL=url) as (_, address):
        assert answers(f"{address}/health/ready")


@pytest.mark.parametrize("name", ["JWT_SECRET", "BETTER_AUTH_SECRET"])
def test_token_prints_a_token_for_the_user_and_the_days(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("JWT_ISSUER", "me")
    monkeypatch.setenv("JWT_AUDIENCE", "you")
    assert main(["token", "--user", "alice", "--days", "2"]) == 0
    token = capsys.readouterr().out.removesuffix("\n")
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="you", issuer="me")
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("alice", 2 * 86_400)


@pytest.mark.parametrize(
    ("user_id", "days", "reason"),
    [("", 1, "user id"), ("x" * 256, 1, "user id"), ("x", 0, "days"), ("x", 10**9, "days")],
)
def test_token_refuses_an_invalid_user_id_or_number_of_days(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, user_id: str, days: int, reason: str
) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    assert reason in refused_command(capsys, "token", "--user", user_id, "--days", str(days))


def test_token_without_a_secret_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "JWT_SECRET is not set" in refused_command(capsys, "token", "--user", "alice")
    monkeypatch.setenv("JWT_JWKS_URL", "https://issuer.example/keys")
    assert "the issuer makes the tokens" in refused_command(capsys, "token", "--user", "alice")


def test_token_embedded_without_an_embedded_service_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "serve --embedded" in refused_command(capsys, "token", "--embedded", "--user", "alice")


def test_the_command_todo_service_is_installed() -> None:
    result = run_command("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"todo-service {__version__}\n", "")
