"""The workloads: users, the requests they send, and wrk, which sends them."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from uuid import UUID

from benchmarks import BenchmarkError
from todo_service.auth import sign_token

WORKLOADS = {"list": (100, 0, 0), "get": (0, 100, 0), "create": (0, 0, 100), "mixed": (50, 35, 15)}
"""The percentages of lists, gets and creations in each workload."""

READERS = range(1, 401)  # users that only read, so that their lists don't change
TASKS_PER_READER = 50
WRITERS = range(1001, 1401)  # users that only create tasks; at first they have none

BODIES = [  # the tasks that are created, with all members: pgbench can't send NULL as a parameter
    {"title": title, "description": description, "priority": priority, "due_date": due_date}
    for title, description, priority, due_date in (
        ("Buy milk", "Two bottles, and bread if they have any left", "low", "2027-01-01T09:00:00.000Z"),
        ("Write to the landlord", "About the heating, and last winter's bill", "high", "2027-03-01T12:00:00.500Z"),
        ("Prepare the talk for spring", "Twenty minutes, then questions", "medium", "2027-01-15T08:30:00.000+01:00"),
    )
]


@dataclass(frozen=True)
class Load:
    """The result of wrk or pgbench: the answered requests, the time and, for wrk, the 99th percentile in ms."""

    requests: int
    seconds: float
    p99: float = nan


def token(secret: str, user: int) -> str:
    """A token that all services accept."""
    return sign_token(secret, str(user), days=1)


def task_id(user: int, number: int) -> UUID:
    """The id of a reader's task: the same in every database. The numbers of a reader's tasks begin with 1."""
    return UUID(hashlib.md5(f"{user}-{number}".encode(), usedforsecurity=False).hexdigest())


def write_requests(path: Path, secret: str) -> None:
    """Writes the file from which load.lua draws requests."""
    path.write_text("".join("\t".join(request) + "\n" for request in _requests(secret)), encoding="utf-8")


def _requests(secret: str) -> Iterator[tuple[str, str, str, str]]:
    for user in READERS:
        signed = token(secret, user)
        yield "list", "/api/tasks", signed, ""
        for number in range(1, TASKS_PER_READER + 1):
            yield "get", f"/api/tasks/{task_id(user, number)}", signed, ""
    for user in WRITERS:
        yield "create", "/api/tasks", token(secret, user), json.dumps(BODIES[user % len(BODIES)])


def run_wrk(address: str, requests: Path, workload: str, connections: int, seconds: int) -> Load:
    """Sends a workload to a service. Raises BenchmarkError unless every request succeeded."""
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=10s"]
    command += [f"--script={Path(__file__).with_name('load.lua')}", address, "--", str(requests)]
    command += map(str, WORKLOADS[workload])
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)  # noqa: S603
    if result.returncode:
        raise BenchmarkError(f"wrk failed: {result.stderr.strip() or result.stdout.strip()}")
    return parse(result.stdout)


def parse(output: str) -> Load:
    """Parses the last line of load.lua's output. Raises BenchmarkError if a request failed, or none was answered."""
    measured = json.loads(output.strip().splitlines()[-1])
    failures = {name: measured[name] for name in ("status", "socket", "timeout") if measured[name]}
    if failures or not measured["requests"]:
        raise BenchmarkError(f"{measured['requests']} requests were answered, and these failed: {failures}")
    return Load(measured["requests"], measured["microseconds"] / 1e6, measured["p99"] / 1000)
