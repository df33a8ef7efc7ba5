"""Commands that don't come with Python. A test that needs one is skipped where it is missing.

Where TEST_REQUIRE_ALL is set, it fails.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE_ALL = "TEST_REQUIRE_ALL"
NODE_MODULES = Path(__file__).parents[1] / "node_modules"


def require(*names: str) -> str:
    """The path of the first of these commands that there is."""
    path = next(filter(None, map(shutil.which, names)), None)
    return path or missing(f"there is no {' or '.join(names)}")


def require_node_modules() -> Path:
    """What tests/package.json asks for, as `make test` installs it where there is npm."""
    require("npm")
    if not (NODE_MODULES / ".package-lock.json").exists():
        missing("tests/node_modules is not there: run npm ci in tests/, or make test")
    return NODE_MODULES


def npm_command(name: str, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command of one of the packages in tests/package.json to its end."""
    command = require_node_modules() / ".bin" / name
    return subprocess.run(
        [command, *arguments], cwd=cwd, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False
    )


def missing(reason: str) -> NoReturn:
    """Skips the test that needs what is missing, or fails it."""
    if os.environ.get(REQUIRE_ALL):
        pytest.fail(f"{reason}, and {REQUIRE_ALL} is set")
    pytest.skip(reason)
