"""The embedded PostgreSQL: its data directory, its socket, its secret, and a start beside another PostgreSQL."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.support.postgres_servers import require_oldest
from todo_service.embedded import postgres as postgres_module
from todo_service.embedded.postgres import EmbeddedError, read_secret, run_postgres, signing_secret

FAST = ("-c", "fsync=off")
ROOT = os.geteuid() == 0


def query(url: str, sql: str) -> object:
    async def fetch() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def refusal(data: Path, *options: str) -> str:
    with pytest.raises(EmbeddedError) as error, run_postgres(data, options=options):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(params=["18", "15"])
def binaries(request: pytest.FixtureRequest) -> Path | None:
    """The folder with the programs of PostgreSQL 15; None for the programs of the wheel (18)."""
    return None if request.param == "18" else require_oldest()


@pytest.fixture(scope="module")
def existing_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a cluster that is not running."""
    data = tmp_path_factory.mktemp("used") / ".todo-service"
    with run_postgres(data, options=FAST):
        pass
    return data


@pytest.mark.slow
def test_a_new_cluster_has_utf8_and_the_same_collation_on_every_system(tmp_path: Path, binaries: Path | None) -> None:
    with run_postgres(tmp_path / "data", binaries=binaries, options=FAST) as postgres:
        assert query(postgres.url, "SELECT lower('É') || current_setting('server_encoding')") == "éUTF8"
        assert query(postgres.url, "SELECT current_database() || current_user") == "postgrespostgres"


def test_postgres_listens_only_on_a_private_socket_and_removes_it(existing_cluster: Path) -> None:
    with run_postgres(existing_cluster, options=FAST) as postgres:
        runtime = (existing_cluster / "runtime").readlink()
        server = psutil.Process(postgres.process.pid)
        connections = [each for each in server.net_connections("all") if each.status == psutil.CONN_LISTEN]
        assert connections == []
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert runtime.stat().st_uid == server.uids().real == (existing_cluster / "postgres").stat().st_uid != 0
        assert runtime.name in postgres.url
    assert not runtime.exists()
    assert sorted(path.name for path in existing_cluster.iterdir()) == ["lock", "postgres", "postgres.log"]


def test_files_that_a_killed_service_left_do_not_prevent_a_start(existing_cluster: Path) -> None:
    left = Path(tempfile.mkdtemp(prefix="todo-service-"))
    (existing_cluster / "runtime").symlink_to(left)
    (existing_cluster / "postgres.new").mkdir()
    (existing_cluster / "postgres.log").write_text("of the previous run")
    stale = f"{os.getpid()}\n{existing_cluster}\n{int(time.time())}\n5432\n{left}\n\n  16039950 24\nready\n"
    (existing_cluster / "postgres" / "postmaster.pid").write_text(stale)  # this process exists, but is not a PostgreSQL
    os.chmod(existing_cluster / "postgres" / "postmaster.pid", 0o666)  # noqa: PTH101
    with run_postgres(existing_cluster, options=FAST) as postgres:
        assert query(postgres.url, "SELECT 1") == 1
    assert not left.exists()
    assert "of the previous run" not in (existing_cluster / "postgres.log").read_text()


def test_an_incomplete_cluster_is_created_again(tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18")
    with run_postgres(tmp_path, options=FAST) as postgres:
        assert query(postgres.url, "SELECT 1") == 1
    assert not (tmp_path / "postgres.new").exists()


def test_a_second_start_is_refused_and_the_first_postgres_keeps_running(existing_cluster: Path) -> None:
    with run_postgres(existing_cluster, options=FAST) as postgres:
        assert refusal(existing_cluster) == (
            f"The data directory {existing_cluster} is in use by another todo-service (process {os.getpid()}): "
            "stop that one first."
        )
        assert query(postgres.url, "SELECT 1") == 1


def test_a_start_waits_for_a_postgres_without_a_supervisor_to_end(
    existing_cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_postgres(existing_cluster, options=FAST) as postgres:
        (existing_cluster / "lock").unlink()  # simulates that its supervisor has ended
        pid = postgres.process.pid
        with monkeypatch.context() as patch:
            patch.setattr(postgres_module, "PREDECESSOR_SECONDS", 0.2)
            assert refusal(existing_cluster) == (
                f"PostgreSQL (process {pid}) runs on {existing_cluster} without a todo-service: "
                f"stop it with `kill -INT {pid}`, then start again."
            )
        assert query(postgres.url, "SELECT 1") == 1
        monkeypatch.setattr(postgres_module, "PREDECESSOR_SECONDS", 120.0)
        with subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -INT {pid}"]), run_postgres(existing_cluster) as successor:
            assert query(successor.url, "SELECT 1") == 1


def test_data_of_another_version_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    cluster = tmp_path / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("16\n")
    (cluster / "postmaster.pid").write_text("1\n")
    assert refusal(tmp_path) == (
        f"PostgreSQL 16 created the data in {cluster}, but this is PostgreSQL 18: "
        "move that folder away to start anew, or use PostgreSQL 16."
    )
    assert sorted(path.name for path in cluster.iterdir()) == ["PG_VERSION", "postmaster.pid"]
    (cluster / "PG_VERSION").unlink()
    assert refusal(tmp_path) == f"{cluster} contains no data of PostgreSQL: move that folder away."


def test_the_refusal_of_an_unusable_data_directory_names_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert refusal(file) == f"{file} must be a directory, but is a file: move it away."
    assert "/proc/todo-service can't be used" in refusal(Path("/proc/todo-service"))
    with pytest.raises(EmbeddedError, match=r"file/below can't be used: Not a directory"):
        signing_secret(file / "below")


def test_a_failed_start_of_postgres_is_reported_with_its_reason(existing_cluster: Path) -> None:
    sentence = refusal(existing_cluster, "-c", "shared_buffers=few")
    assert sentence.startswith("PostgreSQL did not start: ")
    assert 'FATAL:  invalid value for parameter "shared_buffers": "few"' in sentence
    assert str(existing_cluster / "postgres.log") in sentence


def test_without_the_wheel_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert "pip install 'todo-service[embedded]'" in refusal(tmp_path / "data")


def test_the_secret_is_created_once_with_private_permissions(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(EmbeddedError, match="run `todo-service serve --embedded` here first"):
        read_secret(data)
    assert not data.exists()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: signing_secret(data), range(32)))
    assert found == {read_secret(data)}
    assert len(found.pop()) == 64
    assert (data / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data.iterdir()] == ["secret"]


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="only root can run PostgreSQL as another user")
def test_as_root_postgres_runs_in_a_private_folder_and_changes_no_permissions(
    tmp_path: Path, binaries: Path | None
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = [(path.stat().st_mode, path.stat().st_uid) for path in (closed, *closed.parents)]
    for _ in range(2):
        with run_postgres(closed / ".todo-service", binaries=binaries, options=FAST) as postgres:
            assert query(postgres.url, "SELECT 1") == 1
            assert psutil.Process(postgres.process.pid).username() == "nobody"
    assert [(path.stat().st_mode, path.stat().st_uid) for path in (closed, *closed.parents)] == before
    assert (closed / ".todo-service").stat().st_uid == 0


@pytest.mark.slow
def test_as_an_ordinary_user_postgres_runs_from_its_package() -> None:
    """If root runs the tests, PostgreSQL runs as the user `nobody`."""
    python = ordinary_python()
    with tempfile.TemporaryDirectory() as place:
        shutil.chown(place, user="nobody" if ROOT else None, group=os.getgid())
        script = (
            "import os; from pathlib import Path; from todo_service.embedded import run_postgres\n"
            "with run_postgres(Path('data')) as postgres: print(os.geteuid(), postgres.process.args[0])\n"
        )
        done = ordinary_run([*python, "-c", script], place)
        Path(place, "data", "lock").chmod(0o400)
        refused = ordinary_run([*python, "-c", script], place)
    assert done.returncode == 0, done.stderr
    uid, program = done.stdout.split()
    assert uid != "0"
    assert program == str(postgres_module.find_binaries() / "postgres")
    assert f"The data directory {Path(place).resolve()}/data can't be used: Permission denied" in refused.stderr


def ordinary_run(command: list[str], place: str) -> subprocess.CompletedProcess[str]:
    become: dict[str, object] = {"user": "nobody", "group": 65534, "extra_groups": ()} if ROOT else {}
    packages = os.pathsep.join(
        path
        for path in (str(Path(__file__).parents[2]), *sys.path)
        if "site-packages" in path or path == str(Path(__file__).parents[2])
    )
    environment = {"PATH": os.defpath, "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, cwd=place, env=environment, capture_output=True, text=True, check=False, **become
    )


def ordinary_python() -> list[str]:
    """An interpreter that an ordinary user can run, with the service's packages."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin")):
        with contextlib.suppress(PermissionError):
            if python and ordinary_run([python, "-c", "import todo_service.embedded"], "/").returncode == 0:
                return [python]
    pytest.skip("there is no interpreter that an ordinary user can run")
