"""Measurements of this service alone: a single client, a slow network, and much data."""

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median

import asyncpg

from benchmarks.database import TASKS_OF_READER, clear, create_database, fetch, free_port
from benchmarks.ground import Ground
from benchmarks.load import LoadError, Request
from benchmarks.machine import ROOT
from benchmarks.rounds import Case, Plan, Table, Target, Tick, measure
from benchmarks.services import ours
from todo_service.embedded.processes import run_child

ON, OFF = "with batches", "one by one"
COMPETITORS = {ON: ours(), OFF: ours(DATABASE_BATCH_SIZE="1")}

SINGLE_CASES: list[Case] = [("list", 1), ("get", 1), ("create", 1)]
NETWORK_CASES: list[Case] = [("get", 128)]
KNOWN_CASES: list[Case] = [("list", 32)]
PAGE_CASES: list[Case] = [("list", 32)]
ROWS_CASES: list[Case] = [("list", 32), ("get", 32), ("create", 32)]

DELAY = 1.0  # milliseconds of each round trip
POOL = 4

KNOWN = {50: range(70_001, 70_101), 200: range(71_001, 71_101), 1000: range(72_001, 72_021)}
"""How many tasks are on a list that its client may have already, and the users who have such lists."""

SHORT, LONG = "of 100 tasks", "of 100,000 tasks"
OWNERS = {SHORT: (60_001, 100), LONG: (60_002, 100_000)}
"""Users whose first pages are compared, and how many tasks they have."""

FEW, MANY = "20,000 rows", "2,000,000 rows"
CROWD = range(10_001, 10_001 + 2_000_000 // TASKS_OF_READER)
ACTIVE = CROWD[::100]
"""Those of the crowd who ask: as many users as in the small table, so that nothing but the table is larger."""


def measure_single(ground: Ground, plan: Plan, tick: Tick) -> Table:
    """A single client, whose requests never share a batch."""
    requests = ground.write_requests("requests")
    with ExitStack() as stack:
        targets = [
            Target(name, stack.enter_context(ground.run(competitor)), requests)
            for name, competitor in COMPETITORS.items()
        ]
        return measure(targets, SINGLE_CASES, plan, tick)


def measure_network(ground: Ground, plan: Plan, tick: Tick) -> tuple[Table, float]:
    """A database that is a millisecond away; also how many milliseconds a round trip really takes more."""
    requests = ground.write_requests("requests")
    with _slow_network(ground.server.port) as port, ExitStack() as stack:
        more = _round_trip(ground.server.url(port=port)) - _round_trip(ground.url)
        targets = [
            Target(name, stack.enter_context(ground.run(replace(competitor, pool=POOL), port)), requests)
            for name, competitor in COMPETITORS.items()
        ]
        return measure(targets, NETWORK_CASES, plan, tick), more


def measure_known(ground: Ground, plan: Plan, tick: Tick) -> Table:
    """Lists for clients that have nothing, and for those that have them already and say so."""
    tick("filling a table with longer lists")
    create_database(ground.server, "lists", {user: size for size, users in KNOWN.items() for user in users})
    ground = replace(ground, database="lists")
    query = "SELECT id, generation || '-' || revision AS tag FROM users"
    tags = {int(row["id"]): f'"{row["tag"]}"' for row in fetch(ground.url, query)}
    with ground.run(ours()) as service:
        targets = []
        for size, users in KNOWN.items():
            lists = [Request("list", "/api/tasks", ground.token(user)) for user in users]
            known = [replace(request, tag=tags[user]) for request, user in zip(lists, users, strict=True)]
            for name, requests in ((in_full(size), lists), (not_modified(size), known)):
                targets.append(Target(name, service, ground.write(name, requests)))
        return measure(targets, KNOWN_CASES, plan, tick)


def in_full(size: int) -> str:
    """The name of lists of so many tasks."""
    return f"{size} tasks in full"


def not_modified(size: int) -> str:
    """The name of lists of so many tasks for clients that have them already."""
    return f"{size} tasks not modified"


def measure_growth(ground: Ground, plan: Plan, tick: Tick, *, many: bool) -> tuple[Table, Table | None]:
    """The first page of a short and of a long list; and, if that is asked for, a small and a large table."""
    tick("filling a larger table")
    users = dict(OWNERS.values()) | (dict.fromkeys(CROWD, TASKS_OF_READER) if many else {})
    create_database(ground.server, "grown", users)
    grown = replace(ground, database="grown")
    with grown.run(ours()) as on_grown:
        targets = [
            Target(name, on_grown, grown.write(name, [Request("list", "/api/tasks?limit=50", grown.token(user))]))
            for name, (user, _) in OWNERS.items()
        ]
        pages = measure(targets, PAGE_CASES, plan, tick)
        if not many:
            return pages, None
        clear(ground.url)
        with ground.run(ours()) as on_small:
            targets = [
                Target(FEW, on_small, ground.write_requests("few")),
                Target(MANY, on_grown, grown.write_requests("many", ACTIVE)),
            ]
            return pages, measure(targets, ROWS_CASES, plan, tick)


@contextmanager
def _slow_network(port: int) -> Iterator[int]:
    """The port of a proxy in front of another port."""
    slow = free_port()
    command = [sys.executable, "-m", "benchmarks.proxy", str(slow), str(port), str(DELAY)]
    with run_child(command, (), cwd=ROOT):
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", slow)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise LoadError("The proxy that makes the network slow does not start.")
        yield slow


def _round_trip(url: str) -> float:
    """Milliseconds of the simplest query."""

    async def run() -> float:
        connection = await asyncpg.connect(url)
        try:
            taken = []
            for _ in range(300):
                start = time.perf_counter()
                await connection.execute("SELECT 1")
                taken.append(time.perf_counter() - start)
            return median(taken) * 1000
        finally:
            await connection.close()

    return asyncio.run(run())
