"""The contract: a running service conforms to its OpenAPI description, for requests that Schemathesis generates.

schemathesis.toml has the settings. `make fuzz` runs longer. (The test isn't marked with `database`: one version of
PostgreSQL is enough.)
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.processes import SECRET, environment, served
from todo_service.app import description
from todo_service.auth.tokens import sign_token

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("schemathesis")
SECONDS = int(os.environ.get("TEST_FUZZ_SECONDS", "90"))
REQUESTS = int(os.environ.get("TEST_FUZZ_REQUESTS", "1"))
"""The minimum number of requests. An idle machine sends about 100 a second."""

PHASES = {"examples", "coverage", "fuzzing", "stateful"}
OPERATIONS = {
    f"{method.upper()} {path}"
    for path, operations in json.loads(description())["paths"].items()
    for method in operations
}


def write_users(path: Path) -> Path:
    """Writes the two users of schemathesis.toml with their tokens, in the format of Web Fuzzing Commons."""
    users = [
        {
            "name": name,
            "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {sign_token(SECRET, str(uuid4()), days=1)}"}],
        }
        for name in ("alice", "bob")
    ]
    path.write_text(json.dumps({"auth": users}))
    return path


def fuzz(url: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Runs Schemathesis in this folder, where it also stores files between runs. Returns its output and its report."""
    report = folder / "report.json"
    variables = {"PYTHONPATH": str(ROOT), "TEST_CONTRACT_USERS": str(write_users(folder / "users.json"))}
    options = [f"--max-time={SECONDS}", f"--report-json-path={report}", "--no-color"]
    ran = subprocess.run(
        [
            COMMAND,
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            f"{url}/openapi.json",
            *options,
        ],
        cwd=folder,
        # Schemathesis runs without coverage, which would make it slower.
        env={name: value for name, value in environment(**variables).items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        timeout=SECONDS + 300,
        check=False,
    )
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output
    return output, json.loads(report.read_text())


@pytest.mark.slow
@pytest.mark.fuzz
def test_the_service_conforms_to_its_description(service_database_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served(log, DATABASE_URL=service_database_url) as (_, url):
        summary, report = fuzz(url, tmp_path)
    assert "Traceback" not in log.read_text()
    assert report["complete"], summary
    assert {name for name, phase in report["phases"].items() if phase["status"] == "success"} == PHASES, summary
    assert report["operations"]["tested"] == report["operations"]["total"] == len(OPERATIONS), summary
    cases = report["test_cases"]
    assert cases["generated"] - cases["without_checks"] >= REQUESTS, summary
    # Each operation also had successful responses: errors alone would prove little.
    accepted = {
        operation
        for operation, rates in report["valid_rates"].items()
        if any(phase["accepted"] for phase in rates.values())
    }
    assert accepted == OPERATIONS, summary
