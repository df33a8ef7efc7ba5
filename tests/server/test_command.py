"""The command `serve`: before gunicorn starts, it refuses an unusable port, host or temporary directory."""

import socket
import tempfile
from pathlib import Path

import pytest

from tests.support.processes import SECRET, free_port, refused_command


def set_up(monkeypatch: pytest.MonkeyPatch, host: str, port: int) -> None:
    """Sets the required settings, and the address to listen on."""
    monkeypatch.setenv("DATABASE_URL", "postgres://127.0.0.1:1/none")
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("PORT", str(port))


def test_serve_on_a_port_in_use_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        set_up(monkeypatch, host="127.0.0.1", port=listener.getsockname()[1])
        assert "is in use" in refused_command(capsys, "serve")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "::ffff:192.0.2.1"])
def test_serve_on_an_address_of_another_machine_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    set_up(monkeypatch, host=host, port=free_port())
    assert "HOST must be an address of this machine" in refused_command(capsys, "serve")


def test_serve_without_a_directory_for_temporary_files_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    set_up(monkeypatch, host="127.0.0.1", port=free_port())
    assert "set TMPDIR to a writable directory" in refused_command(capsys, "serve")
