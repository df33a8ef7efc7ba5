"""GET /api/tasks/changes: what a client that synchronises is told, and when it has to start over."""

import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp.test_utils import TestServer
from marshmallow import RAISE
from pytest_aiohttp import AiohttpClient

from tests.support.api import TASKS, Api, Client, path_of, problem_of, task_of
from tests.support.pgbouncer import pooled
from tests.support.service_role import grant_service
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.database.migrations import migrate
from todo_service.database.statements import read_statement
from todo_service.http.cursors import Cursor, encode_cursor
from todo_service.http.schemas import ChangesSchema
from todo_service.server.runner import SERVER_OPTIONS
from todo_service.settings import Settings

pytestmark = pytest.mark.database

CHANGES = f"{TASKS}/changes"
ME = "/api/me"
ANY = "6f1d0e5c-3b1c-4c39-9d7f-0b6d5a6a1c11"
IMPORT = "INSERT INTO tasks (user_id, title, revision) SELECT $1, 'x', unnest($2::bigint[])"
NOTHING: dict[str, Any] = {"tasks": [], "deleted": [], "more": False}

MALFORMED = {
    "empty": "",
    "a generation only": ANY,
    "no revision": f"{ANY}-",
    "no generation": "-1",
    "no dash": f"{ANY}1",
    "only a number": "1",
    "upper case": f"{ANY.upper()}-1",
    "quotes": f'"{ANY}-1"',
    "weak": f'W/"{ANY}-1"',
    "a negative number": f"{ANY}--1",
    "a sign": f"{ANY}-+1",
    "a leading zero": f"{ANY}-01",
    "two zeros": f"{ANY}-00",
    "a fraction": f"{ANY}-1.0",
    "an exponent": f"{ANY}-1e3",
    "a group": f"{ANY}-1_000",
    "Arabic digits": f"{ANY}-\u0661",
    "an Arabic digit": f"{ANY}-1\u0661",
    "wide digits": f"{ANY}-\uff11",
    "wide digits in the generation": f"\uff16{ANY[1:]}-1",
    "NUL": "\0",
    "NUL at the end": f"{ANY}-1\0",
    "a line break at the end": f"{ANY}-1\n",
    "a blank": f" {ANY}-1",
    "a generation without dashes": f"{UUID(ANY).hex}-1",
    "a generation in braces": f"{{{ANY}}}-1",
    "more than a cursor": f"{ANY}-1-1",
    "huge": f"{ANY}-{'9' * 5000}",
    "the cursor of a list": encode_cursor(Cursor("created", "desc", "2026-01-01T00:00:00.000000Z", ANY)),
}


async def serve(aiohttp_client: AiohttpClient, settings: Settings) -> Client:
    """The service with these settings, called without a token."""
    server = TestServer(create_app(settings))
    await server.start_server(**SERVER_OPTIONS)
    return await aiohttp_client(server)


async def changes(api: Api, since: str | None = None, limit: int | None = None) -> dict[str, Any]:
    """What changed since, which must be exactly what the contract says."""
    query = {"since": since, "limit": limit}
    response = await api.call("GET", CHANGES, params={name: str(value) for name, value in query.items() if value})
    assert response.status == 200, await response.text()
    assert response.content_type == "application/json"
    document: dict[str, Any] = await response.json()
    ChangesSchema(unknown=RAISE).load(document)
    for task in document["tasks"]:
        task_of(task)
    return document


async def walk(api: Api, since: str | None, limit: int) -> list[dict[str, Any]]:
    """All answers until there is no more."""
    answers = [await changes(api, since, limit)]
    while answers[-1]["more"]:
        answers.append(await changes(api, answers[-1]["since"], limit))
        assert answers[-1]["since"] != answers[-2]["since"], "it would never end"
    return answers


async def version_of(api: Api) -> str:
    """The entity tag of the list, without its quotes."""
    match = re.fullmatch('"([^"]+)"', (await api.call("GET", TASKS)).headers["ETag"])
    assert match
    return match[1]


async def change(api: Api, task: dict[str, Any], **members: Any) -> dict[str, Any]:
    response = await api.call("PATCH", path_of(task), json=members)
    assert response.status == 200, await response.text()
    changed: dict[str, Any] = await response.json()
    return changed


async def delete(api: Api, task: dict[str, Any]) -> str:
    assert (await api.call("DELETE", path_of(task))).status == 204
    task_id: str = task["id"]
    return task_id


async def leave(api: Api) -> None:
    assert (await api.call("DELETE", ME)).status == 204


async def assert_starts_over(api: Api, since: str) -> None:
    await problem_of(await api.call("GET", CHANGES, params={"since": since}), 410, "start-over")


async def test_without_since_the_whole_state_comes_without_tombstones(owner: Api) -> None:
    first, gone, last = [await owner.create(title) for title in ("First", "Gone", "Last")]
    await delete(owner, gone)
    first = await change(owner, first, title="Changed")

    document = await changes(owner)

    assert document == {**NOTHING, "since": await version_of(owner), "tasks": [last, first]}
    assert list(document) == ["since", "tasks", "deleted", "more"]


async def test_what_changed_comes_once_as_it_is_now_and_in_the_order_of_its_last_change(owner: Api) -> None:
    often, _, once = [await owner.create(title) for title in ("Often", "Never", "Once")]
    since = await version_of(owner)
    await change(owner, often, completed=True)
    once = await change(owner, once, priority="high")
    often = await change(owner, often, title="Very often")
    new = await owner.create("New")

    document = await changes(owner, since)

    assert document == {**NOTHING, "since": await version_of(owner), "tasks": [once, often, new]}


async def test_a_task_has_the_same_text_as_in_the_list(owner: Api) -> None:
    await owner.create('},{"é\\u00e9\u2028', description='],"deleted":[\x01🎄')

    listed, changed = [await (await owner.call("GET", path)).text() for path in (TASKS, CHANGES)]

    assert f'"tasks":{listed},' in changed


async def test_since_the_last_answer_nothing_has_changed(owner: Api) -> None:
    task = await owner.create()
    since = (await changes(owner))["since"]
    await change(owner, task, title=task["title"])

    assert await changes(owner, since) == {**NOTHING, "since": since}


async def test_of_a_deleted_task_only_the_id_is_left(owner: Api) -> None:
    task = await owner.create("My secret", description="Nobody is to know")
    since = await version_of(owner)
    await delete(owner, task)

    response = await owner.call("GET", CHANGES, params={"since": since})

    text = await response.text()
    assert await response.json() == {**NOTHING, "since": await version_of(owner), "deleted": [task["id"]]}
    assert "secret" not in text
    assert "Nobody" not in text


async def test_what_came_and_went_in_between_is_deleted(owner: Api) -> None:
    await owner.create()
    since = await version_of(owner)
    gone = await delete(owner, await owner.create())

    assert await changes(owner, since) == {**NOTHING, "since": await version_of(owner), "deleted": [gone]}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 1000])
async def test_pages_have_every_change_and_more_is_exact(owner: Api, limit: int) -> None:
    tasks = [await owner.create(str(n)) for n in range(5)]
    since = await version_of(owner)
    changed, gone = [], []
    for n in (4, 1):
        changed.append(await change(owner, tasks[n], completed=True))
        gone.append(await delete(owner, tasks[n - 1]))
    gone.append(await delete(owner, tasks[2]))

    answers = await walk(owner, since, limit)

    assert [task for answer in answers for task in answer["tasks"]] == changed
    assert [task_id for answer in answers for task_id in answer["deleted"]] == gone
    # Revisions 6 to 10 are a change each, in pages that are full but for the last one, which is never empty.
    ends = [*range(5 + limit, 10, limit), 10]
    assert [answer["since"] for answer in answers] == [f"{since.rpartition('-')[0]}-{end}" for end in ends]
    counts = [len(answer["tasks"]) + len(answer["deleted"]) for answer in answers]
    assert counts == [end - begin for begin, end in zip([5, *ends], ends, strict=False)]


async def test_deletions_alone_are_no_more_of_the_whole_state(owner: Api) -> None:
    kept, gone = await owner.create(), await owner.create()
    await delete(owner, gone)

    assert await changes(owner, limit=1) == {**NOTHING, "since": await version_of(owner), "tasks": [kept]}


async def test_what_is_deleted_while_a_client_gets_the_whole_state_comes_as_deleted(owner: Api) -> None:
    sent, waiting, kept = [await owner.create() for _ in range(3)]
    first = await changes(owner, limit=1)
    assert (first["tasks"], first["more"]) == ([sent], True)
    gone = [await delete(owner, task) for task in (sent, waiting)]

    document = await changes(owner, first["since"])

    assert document == {"since": await version_of(owner), "tasks": [kept], "deleted": gone, "more": False}


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_tasks_with_the_same_revision_are_not_torn_apart(
    owner: Api, connection: asyncpg.Connection, limit: int
) -> None:
    await owner.create()
    await connection.execute(IMPORT, owner.user_id, [1, 1, 3, 3, 3, 4])
    await connection.execute("UPDATE users SET revision = 4 WHERE id = $1", owner.user_id)
    begin = f"{(await version_of(owner)).rpartition('-')[0]}-0"

    for since in (None, begin):
        answers = await walk(owner, since, limit)
        tasks = [task for answer in answers for task in answer["tasks"]]
        assert [task["revision"] for task in tasks] == [1, 1, 1, 3, 3, 3, 4]
        assert {task["id"] for task in tasks} == {task["id"] for task in await owner.tasks()}
        assert all(answer["tasks"] for answer in answers)
        assert answers[-1]["since"] == await version_of(owner)


async def test_there_are_never_more_than_a_thousand_at_once(owner: Api, connection: asyncpg.Connection) -> None:
    await owner.create()
    await connection.execute(IMPORT, owner.user_id, range(2, 1002))
    await connection.execute("UPDATE users SET revision = 1001 WHERE id = $1", owner.user_id)

    answers = await walk(owner, None, 1000)

    assert await changes(owner) == answers[0]
    assert [len(answer["tasks"]) for answer in answers] == [1000, 1]


async def test_who_has_nothing_yet_has_a_cursor_that_stays_good(owner: Api, stranger: Api) -> None:
    nothing = await changes(owner)
    assert nothing == {**NOTHING, "since": await version_of(owner)} == await changes(owner, nothing["since"])
    assert nothing["since"] != (await changes(stranger))["since"]
    task = await owner.create()
    await delete(owner, await owner.create())

    document = await changes(owner, nothing["since"])

    assert document == {**NOTHING, "since": await version_of(owner), "tasks": [task]}


async def test_after_an_account_is_deleted_clients_start_over(owner: Api) -> None:
    nothing = (await changes(owner))["since"]
    await owner.create()
    since = (await changes(owner))["since"]
    await leave(owner)

    await assert_starts_over(owner, since)
    assert await changes(owner) == {**NOTHING, "since": nothing}
    task = await owner.create()
    await assert_starts_over(owner, since)
    assert (await changes(owner, nothing))["tasks"] == (await changes(owner))["tasks"] == [task]


async def test_cursors_of_others_and_of_the_future_start_over(owner: Api, stranger: Api) -> None:
    strangers = [await version_of(stranger)]
    await stranger.create()
    strangers.append(await version_of(stranger))
    nobodys = (await version_of(owner)).rpartition("-")[0]

    for _ in range(2):  # who has nothing, and who has something
        for since in (*strangers, f"{ANY}-0", f"{ANY}-1", f"{nobodys}-1"):
            await assert_starts_over(owner, since)
        await owner.create()
    generation = (await version_of(owner)).rpartition("-")[0]
    for revision in (3, 2**31, 2**63 - 1, 2**63, 10**19 - 1):
        await assert_starts_over(owner, f"{generation}-{revision}")
    assert len((await changes(owner, f"{generation}-0"))["tasks"]) == 2


async def test_after_a_backup_was_restored_clients_start_over(
    aiohttp_client: AiohttpClient, settings: Settings, empty_database: str
) -> None:
    await migrate(empty_database, lambda _line: None)
    service = pooled(await grant_service(empty_database))
    client = await serve(aiohttp_client, replace(settings, database_url=service))
    owner = Api(client, "owner", sign_token(settings.jwt_secret, "owner", days=1))
    task = await owner.create()
    since = await version_of(owner)
    connection = await asyncpg.connect(empty_database)
    await connection.execute(read_statement("maintenance/renew_generations").text)
    await connection.close()

    await assert_starts_over(owner, since)
    renewed = await changes(owner)
    assert renewed == {**NOTHING, "since": await version_of(owner), "tasks": [task]}
    new = await owner.create()
    assert (await changes(owner, renewed["since"]))["tasks"] == [new]


async def test_a_strangers_changes_are_never_seen(owner: Api, stranger: Api) -> None:
    await owner.create()
    since = await version_of(owner)
    gone, changed = await stranger.create(), await stranger.create()
    await delete(stranger, gone)
    await change(stranger, changed, completed=True)

    assert await changes(owner, since) == {**NOTHING, "since": since}
    assert [task["user_id"] for task in (await changes(owner))["tasks"]] == [owner.user_id]


@pytest.mark.parametrize("since", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_since_is_refused(owner: Api, since: str) -> None:
    response = await owner.call("GET", CHANGES, params={"since": since})
    assert list((await problem_of(response, 400, "invalid-query"))["errors"]) == ["since"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *((f"limit={value}", "limit") for value in ("", "0", "1001", "-1", "1.0", "x", "%D9%A1")),
        ("limit=1&limit=1", "limit"),
        (f"since={ANY}-1&since={ANY}-1", "since"),
        *((f"{name}=1", name) for name in ("cursor", "status", "sort", "Since", "q")),
    ],
)
async def test_other_queries_are_refused(owner: Api, query: str, name: str) -> None:
    response = await owner.call("GET", f"{CHANGES}?{query}")
    assert list((await problem_of(response, 400, "invalid-query"))["errors"]) == [name]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_changes_can_only_be_read(owner: Api, method: str) -> None:
    response = await owner.call(method, CHANGES, json={"title": "x"})
    await problem_of(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_a_token_no_changes_are_told(client: Client, method: str) -> None:
    await problem_of(await client.request(method, CHANGES), 401, "unauthorized")
