"""docs/operations.md, "Restore": a restored database has all data, and clients start over."""

from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from pytest_aiohttp import AiohttpClient

from tests.support.api import Api, path_of, problem_of, tag_of
from tests.support.postgres_servers import CreateDatabase, run_program, session
from tests.support.processes import UP_TO_DATE, run_command
from tests.support.service_role import grant_service
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.database.migrations import migrate
from todo_service.database.statements import SQL
from todo_service.settings import Settings

pytestmark = pytest.mark.database

CHANGES = "/api/tasks/changes"


async def test_the_documented_steps_restore_the_tasks_and_clients_start_over(
    aiohttp_client: AiohttpClient,
    settings: Settings,
    database_url: str,
    owner: Api,
    empty_database: str,
    tmp_path: Path,
) -> None:
    task = await owner.create()
    since = await tag_of(owner)
    backup, restored = str(tmp_path / "tasks.dump"), empty_database

    run_program("pg_dump", "--format=custom", "--no-blobs", f"--file={backup}", f"--dbname={database_url}")
    run_program("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", f"--dbname={restored}", backup)
    assert run_command("migrate", DATABASE_URL=restored).stdout == f"{UP_TO_DATE}\n"
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    run_program("psql", *options, f"--file={SQL / 'maintenance/renew_generations.sql'}", restored)

    client = await aiohttp_client(create_app(replace(settings, database_url=restored)))
    copy = replace(owner, client=client)
    assert await copy.tasks() == [task]
    await problem_of(await copy.call("GET", CHANGES, params={"since": since}), 410, "start-over")
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
