"""Searches without a match: `python -m benchmarks.searches` prints their times in milliseconds, as the shortest of 7.

The arguments are the length of a description (default: 35) and a folder with the programs of PostgreSQL (default: the
embedded PostgreSQL).
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import asyncpg

from todo_service.database import migrate, read_statement
from todo_service.embedded.postgres import run_postgres

ROUNDS = 7
ORDERS = ("created_desc", "title_asc", "due_date_asc")
SESSION = {"plan_cache_mode": "force_generic_plan", "jit": "off"}  # as in the service
PARAMETERS = "text, boolean, bigint, text, uuid, text[], text[], text, text, text"

# For each user: the number of tasks, and an expression for the texts, which differ in each task.
ASCII = "rpad('Task ' || md5(n::text), length, 'Lorem ipsum dolor ')"
USERS = {
    "ASCII": (100_000, ASCII),
    "é in NFC": (100_000, f"overlay({ASCII} placing 'é' from 2 for 1)"),
    "é in NFD": (100_000, f"overlay({ASCII} placing U&'e\\0301' from 2 for 2)"),
    "Cyrillic": (100_000, f"translate({ASCII}, 'Taskbcdef0123456789Loremipudl', 'абвгдежзиклмнопрстуфхцчшщъыьэю')"),
    "100 in ASCII": (100, ASCII),
}
SEARCHES = [(user, text) for user in USERS for text in ("oats", "овёс")]

INSERT_USER = "INSERT INTO users (id, revision) VALUES ($1, $2)"
INSERT_TASKS = """
INSERT INTO tasks (user_id, title, description, created_at, revision)
SELECT '{user}', {title}, {description}, timestamptz '2026-01-01Z' + n * interval '1 second', n
FROM generate_series(1, {count}) AS n
"""


async def measure(url: str, length: int) -> None:
    """Fills an empty database, and prints a line for each order."""
    await migrate(url, lambda _line: None)
    connection = await asyncpg.connect(url, server_settings=SESSION)
    for user, (count, text) in USERS.items():
        title, description = text.replace("length", "35"), text.replace("length", str(length))
        await connection.execute(INSERT_USER, user, count)
        await connection.execute(INSERT_TASKS.format(user=user, title=title, description=description, count=count))
    await connection.execute("VACUUM ANALYZE")
    version = await connection.fetchval("SHOW server_version")
    print(f"PostgreSQL {version}, descriptions of {length} characters: user / q")
    for order in ORDERS:
        await connection.execute(
            f"PREPARE {order} ({PARAMETERS}) AS {read_statement(f'tasks/list_tasks_by_{order}').text}"
        )
        times = [f"{user} / {text}: {await _time(connection, order, user, text):.2f}" for user, text in SEARCHES]
        print(f"{order:13}", *times, sep="  ")
    await connection.close()


async def _time(connection: asyncpg.Connection, order: str, user: str, text: str) -> float:
    arguments = f"'{user}', NULL, 50, NULL, NULL, NULL, NULL, NULL, NULL, '{text}'"
    times = []
    for _ in range(ROUNDS):
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {order} ({arguments})")
        times.append(float(json.loads(plan)[0]["Execution Time"]))
    return min(times)


def main(length: str = "35", binaries: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with run_postgres(data, binaries=Path(binaries) if binaries else None) as postgres:
            asyncio.run(measure(postgres.url, int(length)))


if __name__ == "__main__":
    main(*sys.argv[1:])
