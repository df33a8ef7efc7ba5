"""The peers: what each needs to be installed, once, in benchmarks/.peers, and how it is started then."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.services import Competitor

SOURCES = Path(__file__).with_name("peers")
INSTALLED = Path(__file__).with_name(".peers")

PEERS = GO, FASTIFY, FASTAPI = "Go + pgx", "Fastify + postgres.js", "FastAPI + SQLModel"

GO_CODE = Path("/usr/share/gocode")
"""Where Debian's packages put libraries of Go."""

GO_LIBRARIES = {
    "pgx": ("github.com/jackc/pgx/v4", "golang-github-jackc-pgx-v4-dev"),
    "golang-jwt": ("github.com/golang-jwt/jwt", "golang-github-golang-jwt-jwt-dev"),
}
"""The libraries in Go: the folder there, and the package of Debian that it comes with."""

POOL = 10
"""Connections of each process, and in Go's one process of each core. Of 4, 10 and 16 that served each peer best, by the
geometric mean of the requests per second of all workloads at 32 and 128 connections: Go 5,126, 5,303 and 5,175; Fastify
4,116, 4,175 and 3,917; FastAPI 403, 411 and 409."""

Report = Callable[[str], None]


class MissingError(Exception):
    """A peer can't be had here; the message says in a few words why."""


def find_peers(processes: int, report: Report) -> list[Competitor]:
    """The peers that can be had, installed where they aren't yet; reports what is installed and what is left out."""
    found = []
    for name, make in {GO: _go, FASTIFY: _fastify, FASTAPI: _fastapi}.items():
        try:
            found.append(make(processes, report))
        except MissingError as error:
            report(f"{name} is left out: {error}.")
    return found


def peer_versions(name: str) -> str:
    """What a peer that was found is made of."""
    if name == GO:
        found = {
            library: _output("dpkg-query", "-Wf${Version}", package) for library, (_, package) in GO_LIBRARIES.items()
        }
        versions = [f"{library} {version.partition('-')[0]}" for library, version in found.items()]
        return ", ".join([f"go {_output('go', 'version').split()[2].removeprefix('go')}", *versions])
    if name == FASTIFY:
        pinned = json.loads(_read("fastify/package.json"))["dependencies"]
        return ", ".join([f"node {_output('node', '--version').lstrip('v')}", *map(" ".join, pinned.items())])
    pins = _read("fastapi/requirements.txt").splitlines()
    return ", ".join(re.sub(r"(\[.*\])?==", " ", pin) for pin in pins)


def _go(processes: int, report: Report) -> Competitor:
    missing = [package for path, package in GO_LIBRARIES.values() if not (GO_CODE / "src" / path).is_dir()]
    missing += [] if shutil.which("go") else ["golang-go"]
    if missing:
        raise MissingError(f"on Debian, `apt install {' '.join(missing)}`")
    folder = INSTALLED / "go"
    build = ["go", "build", "-o", str(folder / "server"), str(SOURCES / "go" / "main.go")]
    libraries = {"GO111MODULE": "off", "GOPATH": str(GO_CODE), "GOCACHE": str(folder / "cache")}
    _install(folder, _read("go/main.go") + peer_versions(GO), [build], report, libraries)
    return Competitor(GO, [str(folder / "server")], POOL * processes, {"GOMAXPROCS": str(processes)})


def _fastify(processes: int, report: Report) -> Competitor:
    if not shutil.which("node") or not shutil.which("npm"):
        raise MissingError("it needs node 20 or later, and npm")
    folder = INSTALLED / "fastify"
    pinned = _read("fastify/package.json")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(pinned, encoding="utf-8")
    (folder / "server.js").write_text(_read("fastify/server.js"), encoding="utf-8")  # where it finds its modules
    install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    _install(folder, pinned, [install], report)
    environment = {"NODE_ENV": "production", "WEB_CONCURRENCY": str(processes)}
    return Competitor(FASTIFY, ["node", "server.js"], POOL, environment, folder)


def _fastapi(processes: int, report: Report) -> Competitor:
    folder = INSTALLED / "fastapi"
    requirements = "fastapi/requirements.txt"
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    commands = [[sys.executable, "-m", "venv", str(folder)], [*pip, "--requirement", str(SOURCES / requirements)]]
    _install(folder, _read(requirements) + sys.version, commands, report)
    command = [str(folder / "bin" / "uvicorn"), "main:app", "--host", "127.0.0.1", "--port", "{port}"]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    command += ["--workers", str(processes)]
    return Competitor(FASTAPI, command, POOL, {}, SOURCES / "fastapi")


def _install(
    folder: Path,
    made_from: str,
    commands: Sequence[Sequence[str]],
    report: Report,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs commands in a folder, unless that was done with the same sources. Raises MissingError."""
    done = folder / "made-from"
    if done.exists() and done.read_text(encoding="utf-8") == made_from:
        return
    report(f"Installing what benchmarks/peers/{folder.name} needs, once ...")
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands:
        answer = subprocess.run(  # noqa: S603
            command, cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
        )
        if answer.returncode:
            lines = (
                re.findall(r".*error.*", answer.stderr, re.IGNORECASE) or answer.stderr.splitlines() or ["no reason"]
            )
            raise MissingError(f"it can't be installed, {Path(command[0]).name} says {lines[-1].strip()!r}")
    done.write_text(made_from, encoding="utf-8")


def _read(source: str) -> str:
    return (SOURCES / source).read_text(encoding="utf-8")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
