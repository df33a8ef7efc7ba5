"""The command line: what it prints, and what it refuses in one sentence."""

import socket
import tempfile
from pathlib import Path

import jwt
import pytest

from tests.support.processes import SECRET, free_port, run
from todo_service import __version__
from todo_service.__main__ import main

NO_DATABASE = "postgres://nobody:hidden@127.0.0.1:1/none"


def refusal_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that must fail says on stderr: sentences, no traceback."""
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("todo-service: ")
    assert captured.err.endswith(".\n")
    return captured.err


def set_up(monkeypatch: pytest.MonkeyPatch, host: str, port: int) -> None:
    """All that serving needs, but for a database that is there."""
    for name, value in {"DATABASE_URL": NO_DATABASE, "JWT_SECRET": SECRET, "HOST": host, "PORT": str(port)}.items():
        monkeypatch.setenv(name, value)


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"todo-service {__version__}\n"


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for command in ("serve", "migrate", "token", "--embedded", "DATABASE_URL", "JWT_SECRET"):
        assert command in text


@pytest.mark.parametrize("arguments", ["", "dance", "token", "token --user", "token --user=x --days=y"])
def test_a_wrong_command_shows_the_usage(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    assert "usage: todo-service" in capsys.readouterr().err


def test_serving_without_settings_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    text = refusal_of(capsys, "serve")
    assert "DATABASE_URL is not set" in text
    assert "--embedded" in text


def test_migrating_without_a_database_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "DATABASE_URL is not set" in refusal_of(capsys, "migrate")


def test_a_database_that_is_away_is_named_without_its_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", NO_DATABASE)
    text = refusal_of(capsys, "migrate")
    assert "can't be reached" in text
    assert "hidden" not in text


def test_serving_on_a_busy_port_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        set_up(monkeypatch, host="127.0.0.1", port=listener.getsockname()[1])
        assert "is in use" in refusal_of(capsys, "serve")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "::ffff:192.0.2.1"])
def test_serving_on_another_machines_address_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name, value in {
        "DATABASE_URL": NO_DATABASE,
        "JWT_SECRET": SECRET,
        "HOST": host,
        "PORT": str(free_port()),
    }.items():
        monkeypatch.setenv(name, value)
    assert "HOST must be an address of this machine" in refusal_of(capsys, "serve")


def test_serving_without_a_folder_for_temporary_files_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    set_up(monkeypatch, host="127.0.0.1", port=free_port())
    assert "set TMPDIR to one that is writable" in refusal_of(capsys, "serve")


def test_the_embedded_mode_is_refused_on_a_dyno(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DYNO", "web.1")
    monkeypatch.chdir(tmp_path)
    assert "DATABASE_URL" in refusal_of(capsys, "serve", "--embedded")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["JWT_SECRET", "BETTER_AUTH_SECRET"])
def test_a_token_is_signed_for_the_user_and_the_days(
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
def test_a_token_that_would_be_refused_is_not_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, user_id: str, days: int, reason: str
) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    assert reason in refusal_of(capsys, "token", "--user", user_id, "--days", str(days))


def test_a_token_needs_a_secret(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "JWT_SECRET is not set" in refusal_of(capsys, "token", "--user", "alice")
    monkeypatch.setenv("JWT_JWKS_URL", "https://issuer.example/keys")
    assert "tokens come from that issuer" in refusal_of(capsys, "token", "--user", "alice")


def test_an_embedded_token_needs_an_embedded_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "serve --embedded" in refusal_of(capsys, "token", "--embedded", "--user", "alice")


def test_the_command_is_installed() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"todo-service {__version__}\n", "")


def test_a_refusal_of_the_command_is_a_status_and_a_sentence() -> None:
    result = run("serve")
    assert (result.returncode, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr
