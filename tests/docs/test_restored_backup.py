"""docs/operations.md, "Back up" and "Restore": a restored database has all data, and clients start over."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from pytest_aiohttp import AiohttpClient

from tests.support.api import Api, path_of, problem_of, tag_of
from tests.support.external_programs import require
from tests.support.pages import page
from tests.support.postgres_servers import PROGRAMS, CreateDatabase, drop_test_database, run_program, session
from tests.support.processes import COMMAND, TEST_TIMEOUT, UP_TO_DATE, environment
from tests.support.service_role import grant_service, service_url
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.database.migrations import migrate
from todo_service.database.statements import SQL
from todo_service.settings import Settings

pytestmark = pytest.mark.database

CHANGES = "/api/tasks/changes"


def documented_commands(heading: str) -> list[str]:
    """The command blocks of a section, without the commands of Heroku."""
    blocks = page("docs/operations.md").blocks("sh", heading)
    commands = ["\n".join(line for line in block.splitlines() if "heroku" not in line) for block in blocks]
    return [block for block in commands if block]


@pytest.fixture
async def restored_url(database_url: str) -> AsyncIterator[str]:
    """The address of a database that the test creates. It is dropped after the test."""
    url = urlunsplit(urlsplit(database_url)._replace(path=f"/restored_{uuid4().hex}"))
    yield url
    await drop_test_database(url)


async def test_the_documented_commands_restore_the_tasks_and_clients_start_over(
    restored_url: str,
    aiohttp_client: AiohttpClient,
    settings: Settings,
    database_url: str,
    owner: Api,
    tmp_path: Path,
) -> None:
    require("curl")
    (tmp_path / "sql").symlink_to(SQL)
    addresses = {"OWNER_URL": database_url, "RESTORED_URL": restored_url}
    path = os.pathsep.join([str(PROGRAMS), str(Path(COMMAND).parent), os.environ["PATH"]])

    def run(commands: str, url: str = "") -> str:
        """Runs a block of commands, and returns its output."""
        commands = commands.replace("todo_restored", urlsplit(restored_url).path[1:]).replace("alice", owner.user_id)
        variables = environment(PATH=path, PSQLRC="/dev/null", JWT_SECRET=settings.jwt_secret, URL=url, **addresses)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=tmp_path,
            env=variables,
            stdout=subprocess.PIPE,
            text=True,
            timeout=TEST_TIMEOUT,
            check=True,
        ).stdout

    [backup] = documented_commands("Back up")
    restore, migration, renewal, check = documented_commands("Restore")
    task = await owner.create()
    since = await tag_of(owner)
    run(backup)
    await owner.create("written after the backup")
    since_after_backup = await tag_of(owner)
    run(restore)
    assert UP_TO_DATE in run(migration)
    run(renewal)

    client = await aiohttp_client(create_app(replace(settings, database_url=service_url(restored_url))))
    output = await asyncio.to_thread(run, check, str(client.make_url("")))
    in_backup, in_database, responses = output.split("\n", 2)
    assert int(in_backup) == int(in_database) > 0
    assert responses.startswith('{"status": "healthy"}{"type": "/problems#start-over", ')
    assert responses.endswith(f"[{json.dumps(task, separators=(',', ':'))}]")

    copy = replace(owner, client=client)
    for old in (since, since_after_backup):
        await problem_of(await copy.call("GET", CHANGES, params={"since": old}), 410, "start-over")
    everything = await (await copy.call("GET", CHANGES)).json()
    assert everything == {"since": await tag_of(copy), "tasks": [task], "deleted": [], "more": False}
    new = await copy.create()
    assert new["revision"] > task["revision"]
    changes = await (await copy.call("GET", CHANGES, params={"since": everything["since"]})).json()
    assert changes == {"since": await tag_of(copy), "tasks": [new], "deleted": [], "more": False}


def dump(url: str) -> str:
    """The dump of a database, without the two lines that have a random key in each dump."""
    lines = run_program("pg_dump", f"--dbname={url}").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


async def test_a_restored_dump_has_all_data(
    aiohttp_client: AiohttpClient, settings: Settings, create_database: CreateDatabase
) -> None:
    original, restored = await create_database(), await create_database()

    async def api_of(url: str) -> Api:
        client = await aiohttp_client(create_app(replace(settings, database_url=await grant_service(url))))
        return Api(client, "o'\\.\n", sign_token(settings.jwt_secret, "o'\\.\n", days=1))

    async def rows_of(url: str) -> list[asyncpg.Record]:
        async with session(url) as connection:
            return await connection.fetch(
                "SELECT *, t::text FROM users u JOIN tasks t ON t.user_id = u.id ORDER BY 4, 5"
            )

    await migrate(original, lambda _line: None)
    api = await api_of(original)
    for text in ("\\.", "\\N", "a\tb\r\n\\restrict x\n'; --", "$$ É 🎄 \u2028", '{"a": "\\u0000"}'):
        task = await api.create(text, description=text, due_date="9999-12-31T23:59:59Z", priority="low")
    assert (await api.call("DELETE", path_of(task))).status == 204

    text = dump(original)
    run_program("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={restored}", stdin=text)

    assert dump(restored) == text
    assert await rows_of(restored) == await rows_of(original)
    assert len(await rows_of(restored)) == 5
    report: list[str] = []
    await migrate(restored, report.append)
    assert report == [UP_TO_DATE]
    copy = await api_of(restored)
    assert await copy.tasks() == await api.tasks()
    assert (await copy.create())["revision"] == 7
