"""The peers: the same API with other frameworks. `make bench` installs the peers whose tools it finds."""

from pathlib import Path

from benchmarks.services import Service

SOURCES = Path(__file__).with_name("peers")
GO, FASTIFY, FASTAPI = "Go + pgx", "Fastify + postgres.js", "FastAPI + SQLModel"

TOOLS = {  # `make bench` needs these to install each peer
    GO: "Debian's golang-go, golang-github-jackc-pgx-v4-dev and golang-github-golang-jwt-jwt-dev",
    FASTIFY: "node 20 or later and npm",
    FASTAPI: "access to PyPI",
}

POOL = 10  # the best number of connections for each process, or for each core in Go (docs/performance.md)


def find_peers(processes: int) -> list[Service]:
    """Returns the installed peers. Go has one process, with as many threads as other services have processes."""
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
