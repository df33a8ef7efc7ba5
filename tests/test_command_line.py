"""The command line: its help, the commands `migrate` and `token`, and how errors are reported."""

from pathlib import Path

import jwt
import pytest

from tests.support.processes import SECRET, refused_command, run_command
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
