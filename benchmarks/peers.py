"""The peers: the same API as others would write it. `make bench` installs those whose tools are there."""

from pathlib import Path

from benchmarks.services import Service

SOURCES = Path(__file__).with_name("peers")
GO, FASTIFY, FASTAPI = "Go + pgx", "Fastify + postgres.js", "FastAPI + SQLModel"

TOOLS = {
    GO: "Debian's golang-go, golang-github-jackc-pgx-v4-dev and golang-github-golang-jwt-jwt-dev",
    FASTIFY: "node 20 or later and npm",
    FASTAPI: "access to PyPI",
}
"""The tools that `make bench` needs to install each peer."""

POOL = 10
"""Database connections of each process, and of Go for each core. 10 is the best of 4, 10 and 16 for each peer, by the
geometric mean of the requests per second of all workloads at 32 and 128 connections: Go 5,126, 5,303 and 5,175; Fastify
4,116, 4,175 and 3,917; FastAPI 403, 411 and 409."""


def find_peers(processes: int) -> list[Service]:
    """The peers that are installed. Go has one process, on as many cores as the others have processes."""
    peers = []
    if (server := SOURCES / "go" / "server").exists():
        peers.append(Service(GO, [str(server)], POOL * processes, {"GOMAXPROCS": str(processes)}))
    if (SOURCES / "fastify" / "node_modules").exists():
        environment = {"NODE_ENV": "production", "WEB_CONCURRENCY": str(processes)}
        peers.append(Service(FASTIFY, ["node", "server.js"], POOL, environment, SOURCES / "fastify"))
    if (uvicorn := SOURCES / "fastapi" / ".venv" / "bin" / "uvicorn").exists():
        command = [str(uvicorn), "main:app", "--host", "127.0.0.1", "--port", "{port}", "--workers", str(processes)]
        command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        peers.append(Service(FASTAPI, command, POOL, {}, SOURCES / "fastapi"))
    return peers
