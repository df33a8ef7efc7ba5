"""The previous release works on the migrated database: during a deployment, both releases run."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.support.api import TASKS
from tests.support.external_programs import missing
from tests.support.processes import SECRET, TEST_TIMEOUT, environment, served
from tests.support.service_role import grant_service
from todo_service.auth.tokens import sign_token
from todo_service.database.migrations import migrate, read_migrations

pytestmark = [pytest.mark.slow, pytest.mark.database]

ROOT = Path(__file__).parents[2]
ALICE = {"Authorization": f"Bearer {sign_token(SECRET, 'alice', days=1)}"}


def git(*arguments: str) -> bytes:
    """The output of git. It is empty if git is missing or fails."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, timeout=TEST_TIMEOUT, check=False
        ).stdout
    except FileNotFoundError:
        return b""


def previous_release() -> str:
    """The last tag before this commit. Without tags, the commit before the one that added the newest migration."""
    tag = git("describe", "--tags", "--abbrev=0", "HEAD^")
    newest = f"sql/migrations/{read_migrations()[-1].name}"
    before = tag or git("log", "--diff-filter=A", "--format=%H^", "--max-count=1", "--", newest)
    return before.decode().strip() or "HEAD"  # HEAD if the newest migration isn't committed yet


@pytest.fixture(scope="module")
def previous_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code of the previous release."""
    if git("rev-parse", "--is-shallow-repository").strip() == b"true":
        missing("this clone is shallow: run git fetch --unshallow --tags")
    archive = git("archive", previous_release(), "todo_service", "sql")
    if not archive:
        missing("there is no git history with the previous release")
    code = tmp_path_factory.mktemp("previous")
    subprocess.run(["tar", "--extract", f"--directory={code}"], input=archive, check=True)
    return code


@pytest.fixture
def previous_service(previous_code: Path, migrated_database: str, tmp_path: Path) -> Iterator[str]:
    """The address of the previous release's service."""
    with served(tmp_path / "old.log", code=str(previous_code), DATABASE_URL=migrated_database) as (_, url):
        yield url


@pytest.fixture
async def migrated_database(empty_database: str) -> str:
    """A database with all migrations of this release."""
    await migrate(empty_database, lambda _line: None)
    return await grant_service(empty_database)


async def call(session: ClientSession, method: str, path: str, expected: int, **arguments: Any) -> Any:
    """Sends a request, checks the status, and returns the JSON of the response, if it has any."""
    async with session.request(method, path, **arguments) as response:
        assert response.status == expected, await response.text()
        return await response.json() if expected != 204 else None


def test_the_previous_service_runs_the_code_of_the_previous_release(previous_code: Path) -> None:
    command = [sys.executable, "-c", "import todo_service; print(todo_service.__file__)"]
    run = subprocess.run(
        command,
        cwd=previous_code,
        env=environment(PYTHONPATH=str(previous_code)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(run.stdout.strip()).is_relative_to(previous_code)


async def test_each_endpoint_of_the_previous_release_works(previous_service: str) -> None:
    async with ClientSession(previous_service, headers=ALICE) as session:
        await call(session, "GET", "/health/ready", 200)
        task = await call(session, "POST", TASKS, 201, json={"title": "Buy milk", "priority": "high"})
        path = f"{TASKS}/{task['id']}"
        assert await call(session, "GET", path, 200) == task
        assert await call(session, "GET", TASKS, 200) == [task]
        assert await call(session, "GET", f"{TASKS}?sort=title&order=desc&status=pending&limit=1", 200) == [task]
        changed = await call(session, "PATCH", path, 200, json={"title": "Buy oat milk"})
        assert changed["title"] == "Buy oat milk"
        assert (await call(session, "PUT", path, 200, json={"description": "two"}))["description"] == "two"
        assert (await call(session, "PATCH", f"{path}/complete", 200))["completed"] is True
        await call(session, "DELETE", path, 204)
        await call(session, "GET", path, 404)
        assert await call(session, "GET", TASKS, 200) == []


async def test_both_releases_serve_the_same_tasks_concurrently(
    previous_service: str, migrated_database: str, tmp_path: Path
) -> None:
    with served(tmp_path / "new.log", DATABASE_URL=migrated_database) as (_, new):
        async with ClientSession(previous_service, headers=ALICE) as before, ClientSession(new, headers=ALICE) as after:
            for one, other in ((before, after), (after, before)):
                task = await call(one, "POST", TASKS, 201, json={"title": "Buy milk"})
                path = f"{TASKS}/{task['id']}"
                assert await call(other, "GET", path, 200) == task
                task = await call(other, "PATCH", path, 200, json={"title": "Buy oat milk"})
                assert await call(one, "GET", TASKS, 200) == [task]
                task = await call(one, "PATCH", f"{path}/complete", 200, json={"completed": True})
                assert await call(other, "GET", path, 200) == task
                await call(other, "DELETE", path, 204)
                await call(one, "GET", path, 404)
