"""The database of the benchmark: a durable PostgreSQL on loopback TCP, with the same tasks for all competitors."""

import asyncio
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from todo_service.database.migrations import migrate, read_migrations
from todo_service.database.statements import SQL
from todo_service.embedded.postgres import run_postgres

TASKS_OF_READER = 50
READERS = range(1, 401)
"""Users who never write, so that their lists stay what they are."""

WRITERS = range(1001, 1401)
"""Users who create tasks, and have none at first."""

# fsync and synchronous_commit stay on. No checkpoint or vacuum falls on one competitor's turn: see vacuum().
SETTINGS = (
    "listen_addresses=127.0.0.1",
    "shared_buffers=512MB",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
    "autovacuum=off",
    "max_connections=200",
)

HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"

# Whole milliseconds: JavaScript knows no others. The same ids in every database: the same requests serve all.
SEED_USER = """
INSERT INTO tasks (user_id, id, title, description, completed, priority, due_date, created_at, updated_at, revision)
SELECT
    $1,
    md5($1 || '-' || t)::uuid,
    'Task ' || t,
    CASE WHEN t % 10 < 8 THEN 'Some words about what is to be done, as people write them' END,
    t % 4 = 0,
    (ARRAY['low', 'medium', 'high', NULL])[t % 4 + 1],
    CASE WHEN t % 2 = 0 THEN timestamptz '2027-01-01T00:00:00.250Z' + t * interval '1 hour' END,
    timestamptz '2026-01-01T00:00:00.125Z' + t * interval '1 minute',
    timestamptz '2026-01-01T00:00:00.125Z' + t * interval '1 minute',
    t
FROM generate_series(1, $2::bigint) AS t
"""

# The simplest table that does it, with neither checks nor a foreign key: the least work for the peers.
PEER_TABLE = """
CREATE TABLE peer_tasks (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id text NOT NULL,
    title text NOT NULL,
    description text,
    completed boolean NOT NULL DEFAULT false,
    priority text,
    due_date timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1
);
CREATE INDEX peer_tasks_created_at_idx ON peer_tasks (user_id, created_at DESC, id DESC);
INSERT INTO peer_tasks
SELECT id, user_id, title, description, completed, priority, due_date, created_at, updated_at, revision FROM tasks;
"""


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that runs: where it listens, and the password of its user `postgres`."""

    port: int
    password: str

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """The DATABASE_URL, or that of a proxy on another port."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{port or self.port}/{database}"


@contextmanager
def run_server(folder: Path, binaries: Path | None) -> Iterator[Server]:
    """PostgreSQL, with its data in a folder. To be called from the main thread. Raises EmbeddedError."""
    server = Server(free_port(), secrets.token_hex(16))
    settings = [word for setting in (*SETTINGS, f"port={server.port}") for word in ("-c", setting)]
    with run_postgres(folder, binaries=binaries, options=settings) as postgres:
        # The embedded one listens on its socket only, and refuses everyone else: deployments use TCP and a password.
        (folder / "postgres" / "pg_hba.conf").write_text(HBA)
        statement = f"ALTER ROLE postgres PASSWORD '{server.password}'; SELECT pg_reload_conf()"
        execute(f"{postgres.url}&port={server.port}", statement)
        _wait_for_reload(server)
        yield server


def _wait_for_reload(server: Server) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            return execute(server.url(), "SELECT")
        except asyncpg.InvalidAuthorizationSpecificationError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def seed(url: str, tasks: dict[int, int], migrations: Path = SQL / "migrations") -> None:
    """Fills an empty database: our tables, with users by number and so many tasks of each, and the peers' table."""

    async def fill() -> None:
        await migrate(url, lambda _line: None, read_migrations(migrations))
        users = [(str(user), count) for user, count in tasks.items()]
        connection = await asyncpg.connect(url)
        try:
            await connection.executemany("INSERT INTO users (id, revision) VALUES ($1, $2)", users)
            await connection.executemany(SEED_USER, users)
            await connection.execute(PEER_TABLE)
        finally:
            await connection.close()

    asyncio.run(fill())
    vacuum(url)


def create_database(server: Server, name: str, tasks: dict[int, int], migrations: Path = SQL / "migrations") -> None:
    """Another database, with users and tasks of its own."""
    execute(server.url(), f"CREATE DATABASE {name}")
    seed(server.url(name), tasks, migrations)


def clear(url: str) -> None:
    """Takes away what the writers created, so that later rounds and measurements find what the first one did."""
    for table in ("tasks", "peer_tasks"):
        execute(url, f"DELETE FROM {table} WHERE user_id = ANY('{{{','.join(map(str, WRITERS))}}}')")  # noqa: S608
    vacuum(url)


def vacuum(url: str) -> None:
    """Makes all runs start alike: what was written is on the disk, no row is dead, and statistics are fresh."""
    execute(url, "VACUUM ANALYZE")
    execute(url, "CHECKPOINT")


def execute(url: str, statement: str) -> None:
    """Runs one statement."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def fetch(url: str, statement: str, *parameters: object) -> list[asyncpg.Record]:
    """The rows of one query."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(statement, *parameters)
        finally:
            await connection.close()

    return asyncio.run(run())
