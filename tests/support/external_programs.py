"""Commands that are not part of Python. If one is missing, its tests are skipped, or fail with TEST_REQUIRE_ALL=1."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE_ALL = "TEST_REQUIRE_ALL"
NODE_MODULES = Path(__file__).parents[2] / ".venv" / "node" / "node_modules"


def require(*names: str) -> str:
    """The path of the first of these commands that is installed."""
    path = next(filter(None, map(shutil.which, names)), None)
    return path or missing(f"there is no {' or '.join(names)}")


def require_node_modules() -> Path:
    """The folder with the packages of tests/package.json. `make test-all` installs them if npm is installed."""
    require("npm")
    if not (NODE_MODULES / ".package-lock.json").exists():
        missing("the packages of tests/package.json are not installed: run make test-all")
    return NODE_MODULES


def npm_command(name: str, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command of one of the packages in tests/package.json to its end."""
    command = require_node_modules() / ".bin" / name
    return subprocess.run(
        [command, *arguments], cwd=cwd, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False
    )


def missing(reason: str) -> NoReturn:
    """Skips the test, or fails it if TEST_REQUIRE_ALL is set."""
    if os.environ.get(REQUIRE_ALL):
        pytest.fail(f"{reason}, and {REQUIRE_ALL} is set")
    pytest.skip(reason)
