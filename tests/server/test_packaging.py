"""Packaging: requirements.txt pins all deployed packages, and the wheel has all files that the service needs."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.processes import SECRET, UP_TO_DATE, run_command, served
from todo_service.auth.tokens import sign_token

ROOT = Path(__file__).parents[2]
PINNED = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
WHEEL_VERSION = "0.1.0+wheel"


def test_requirements_are_pinned_and_end_with_the_service() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[-1] == "."
    assert len(PINNED) == len(lines) - 1


def requirements_of(package: str, extra: str = "") -> Iterator[str]:
    """The normalized names of all packages that this package needs in this environment, directly or indirectly."""
    for line in metadata.requires(package) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield canonicalize_name(requirement.name)
            for each in requirement.extras or {""}:
                yield from requirements_of(requirement.name, each)


def test_all_packages_that_the_service_needs_are_pinned() -> None:
    assert set(requirements_of("todo-service")) <= {canonicalize_name(name) for name in PINNED}


@pytest.mark.skipif(
    bool(os.environ.get("TEST_NEWEST")), reason="the newest versions are tested instead of the pinned ones"
)
def test_the_installed_versions_are_the_pinned_ones() -> None:
    assert {name: metadata.version(name) for name in PINNED} == PINNED


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a wheel of this checkout is installed. The wheel has another version than the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"  # a copy, because setuptools leaves files there, and packages them the next time
    for name in ("todo_service", "sql"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    setup = re.sub("^version = .*", f"version = {WHEEL_VERSION}", (ROOT / "setup.cfg").read_text(), flags=re.MULTILINE)
    (source / "setup.cfg").write_text(setup)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True, timeout=600)
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "installed", wheel], check=True, timeout=600)
    return folder / "installed"


@pytest.mark.slow
def test_the_wheel_contains_all_modules_sql_files_and_static_files(installed: Path) -> None:
    package = {path.relative_to(ROOT) for path in (ROOT / "todo_service").rglob("*") if path.suffix not in ("", ".pyc")}
    statements = {"todo_service" / path.relative_to(ROOT) for path in (ROOT / "sql").rglob("*.sql")}
    packaged = [path for path in (installed / "todo_service").rglob("*") if path.suffix not in ("", ".pyc")]
    assert {path.relative_to(installed) for path in packaged} == package | statements


@pytest.mark.slow
@pytest.mark.database
async def test_a_service_from_the_wheel_migrates_and_serves(installed: Path, database_url: str, tmp_path: Path) -> None:
    """Some modules are named in strings only: the command, gunicorn's configuration, the worker and the runner."""
    variables = {"PYTHONPATH": str(installed), "DATABASE_URL": database_url}
    assert run_command("migrate", cwd=tmp_path, **variables).stdout.splitlines() == [UP_TO_DATE]
    with served(tmp_path / "log", code=str(installed), DATABASE_URL=database_url, DOCS="off") as (_, url):
        async with ClientSession(url) as session:
            headers = {"Authorization": f"Bearer {sign_token(SECRET, str(uuid4()), days=1)}"}
            assert (await (await session.get("/")).json())["version"] == WHEEL_VERSION
            assert (await session.get("/problems")).status == 200
            created = await session.post("/api/tasks", headers=headers, json={"title": "Buy milk"})
            assert created.status == 201
            metrics = await (await session.get("/metrics")).text()
            assert (
                'todo_service_request_duration_seconds_count{method="POST",route="/api/tasks",status="201"} 1.0'
                in metrics
            )
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(line.startswith("time=") for line in lines)  # also the lines that gunicorn writes
