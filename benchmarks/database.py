"""The database: a durable PostgreSQL on loopback TCP, with the same tasks for all services."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg

from benchmarks.load import READERS, TASKS_PER_READER, WRITERS
from benchmarks.services import free_port
from todo_service.database import migrate
from todo_service.database.migrations import read_migrations
from todo_service.embedded.postgres import Postgres, run_postgres

# fsync and synchronous_commit stay on. Checkpoints and vacuum only run between the rounds: see `clear`.
SETTINGS = ["listen_addresses=127.0.0.1", "shared_buffers=512MB", "max_connections=500"]
SETTINGS += ["max_wal_size=8GB", "checkpoint_timeout=30min", "autovacuum=off"]
HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
VACUUM = ("VACUUM ANALYZE", "CHECKPOINT")

# `load.task_id` returns the same ids. The times are whole milliseconds, as in JavaScript.
TASKS = f"""
INSERT INTO users (id, revision) SELECT u, {TASKS_PER_READER} FROM generate_series({READERS[0]}, {READERS[-1]}) AS u;
INSERT INTO tasks (user_id, id, title, description, completed, priority, due_date, created_at, updated_at, revision)
SELECT
    u, md5(u || '-' || t)::uuid, 'Task ' || t,
    CASE WHEN t % 10 < 8 THEN 'Some words about the task, as long as people write them' END,
    t % 4 = 0,
    (ARRAY['low', 'medium', 'high', NULL])[t % 4 + 1],
    CASE WHEN t % 2 = 0 THEN timestamptz '2027-01-01T00:00:00.250Z' + t * interval '1 hour' END,
    timestamptz '2026-01-01T00:00:00.125Z' + t * interval '1 minute',
    timestamptz '2026-01-01T00:00:00.125Z' + t * interval '1 minute',
    t
FROM generate_series({READERS[0]}, {READERS[-1]}) AS u, generate_series(1, {TASKS_PER_READER}) AS t
ORDER BY u, t
"""  # noqa: S608 - numbers

# The peers' table has no checks and no foreign key, so that PostgreSQL has the least work.
PEER_TABLE = """
CREATE TABLE peer_tasks (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id text NOT NULL, title text NOT NULL, description text,
    completed boolean NOT NULL DEFAULT false, priority text, due_date timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1
);
CREATE INDEX peer_tasks_created_at_idx ON peer_tasks (user_id, created_at DESC, id DESC);
INSERT INTO peer_tasks
SELECT id, user_id, title, description, completed, priority, due_date, created_at, updated_at, revision FROM tasks
"""


@contextmanager
def run_database(folder: Path, binaries: Path | None) -> Iterator[Postgres]:
    """Runs PostgreSQL with its data in a folder. Call it from the main thread. Raises EmbeddedError."""
    port, password = free_port(), secrets.token_hex(16)
    options = [word for setting in (*SETTINGS, f"port={port}") for word in ("-c", setting)]
    # The embedded PostgreSQL accepts connections on its socket only. Deployments use TCP and a password.
    with run_postgres(folder, binaries=binaries) as initial:
        execute(initial.url, f"ALTER ROLE postgres PASSWORD '{password}'")
    (folder / "postgres" / "pg_hba.conf").write_text(HBA)
    with run_postgres(folder, binaries=binaries, options=options) as embedded:
        yield replace(embedded, url=f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres")


def create_database(postgres: Postgres, name: str, migrations: Path) -> str:
    """Creates a database with the schema of the migrations and the readers' tasks. Returns its URL."""
    execute(postgres.url, f"CREATE DATABASE {name}")
    url = postgres.url.removesuffix("postgres") + name
    asyncio.run(migrate(url, lambda _line: None, read_migrations(migrations)))
    execute(url, TASKS, PEER_TABLE, *VACUUM)
    return url


def clear(url: str) -> None:
    """Deletes the writers' tasks and dead rows, and writes all data to disk, so that all rounds start equally."""
    condition = f"user_id::bigint BETWEEN {WRITERS[0]} AND {WRITERS[-1]}"
    execute(url, *(f"DELETE FROM {table} WHERE {condition}" for table in ("tasks", "peer_tasks")), *VACUUM)  # noqa: S608


def execute(url: str, *statements: str) -> str:
    """Runs statements one after the other. Returns the version of PostgreSQL."""

    async def run() -> str:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    return asyncio.run(run())
