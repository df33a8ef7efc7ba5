"""Where and with what it was measured: the machine, the versions and the commit."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.database import fetch
from benchmarks.peers import PEERS, peer_versions
from benchmarks.services import Competitor

ROOT = Path(__file__).parent.parent
OUR_PACKAGES = ("aiohttp", "asyncpg", "uvloop", "gunicorn", "PyJWT")


def describe(url: str, competitors: Sequence[Competitor]) -> dict[str, str]:
    """The facts, in the order in which they are shown."""
    postgres = fetch(url, "SELECT current_setting('server_version') AS version")[0]["version"].split()[0]
    ours = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in OUR_PACKAGES)]
    facts = {
        "Date": f"{datetime.now(UTC):%Y-%m-%d}",
        "Commit": commit(),
        "Machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory",
        "System": f"{platform.system()} {platform.release()}",
        "PostgreSQL": postgres,
    }
    for competitor in competitors:
        versions = peer_versions(competitor.name) if competitor.name in PEERS else ", ".join(ours)
        facts[competitor.name] = f"{versions}; {competitor.pool} connections to the database"
    tools = {"wrk": r"wrk \S*?(\d+\.\d+\.\d+)", "pgbench": r"([\d.]+)"}
    return facts | {
        "Tools": ", ".join(f"{tool} {_first(tool, shape)}" for tool, shape in tools.items() if shutil.which(tool))
    }


def commit() -> str:
    """The commit, and whether there are changes beside it."""
    try:
        name = _output("git", "rev-parse", "--short", "HEAD")
        changes = _output("git", "status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}, with changes" if changes else name


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def _first(tool: str, shape: str) -> str:
    answer = subprocess.run([tool, "-v" if tool == "wrk" else "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(shape, answer.stdout + answer.stderr)
    return found[1] if found else "of an unknown version"


def _processor() -> str:
    try:
        names = re.findall(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
