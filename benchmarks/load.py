"""Load: runs wrk against a service and reads what it measured."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")

WORKLOADS = {"list": (100, 0, 0), "get": (0, 100, 0), "create": (0, 0, 100), "mixed": (50, 35, 15)}
"""The workloads: percent of lists, gets and creates."""


class LoadError(Exception):
    """A measurement that counts for nothing; the message says why."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk measured: requests per second, and milliseconds that half and 99 % of them took at most."""

    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Request:
    """A request that a workload may send: its kind is list, get or create, `tag` what the client has already."""

    kind: str
    path: str
    token: str
    body: str = ""
    tag: str = ""


def write_requests(path: Path, requests: list[Request]) -> None:
    """The file that load.lua draws from."""
    path.write_text("".join(f"{r.kind}\t{r.path}\t{r.token}\t{r.tag}\t{r.body}\n" for r in requests))


def run_wrk(address: str, requests: Path, workload: str, connections: int, seconds: int) -> Load:
    """Sends a workload for so many seconds. Raises LoadError unless every request was answered with success."""
    shares = [str(share) for share in WORKLOADS[workload]]
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=10s"]
    command += [f"--script={SCRIPT}", address, "--", str(requests), *shares]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)  # noqa: S603
    if answer.returncode:
        raise LoadError(f"wrk failed: {answer.stderr.strip() or answer.stdout.strip()}")
    return parse(answer.stdout)


def parse(output: str) -> Load:
    """What load.lua printed last. Raises LoadError for anything but success."""
    measured = json.loads(output.strip().splitlines()[-1])
    failures = {name: measured[name] for name in ("status", "socket", "timeout") if measured[name]}
    if failures or not measured["requests"]:
        raise LoadError(f"{measured['requests']} requests were answered, these were not: {failures}")
    return Load(
        rate=measured["requests"] / (measured["microseconds"] / 1e6),
        p50=measured["p50"] / 1000,
        p99=measured["p99"] / 1000,
    )
