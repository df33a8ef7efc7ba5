"""GET /api/tasks/changes: the changes after `since`, their pages, and 410 if the client must start over."""

import re
from typing import Any

import asyncpg
import pytest
from marshmallow import RAISE

from tests.support.api import TASKS, UNKNOWN_ID, Api, path_of, problem_of, task_of
from tests.support.synchronisation import CHANGES, ME
from todo_service.http.schemas import ChangesSchema

pytestmark = pytest.mark.database

INSERT = "INSERT INTO tasks (user_id, title, revision) SELECT $1, 'x', unnest($2::bigint[])"
NOTHING: dict[str, Any] = {"tasks": [], "deleted": [], "more": False}


async def changes(api: Api, since: str | None = None, limit: int | None = None) -> dict[str, Any]:
    """The response of GET /api/tasks/changes, checked against its schema."""
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
    """The responses of all pages, until `more` is false."""
    pages = [await changes(api, since, limit)]
    while pages[-1]["more"]:
        pages.append(await changes(api, pages[-1]["since"], limit))
        assert pages[-1]["since"] != pages[-2]["since"], "since did not advance"
    return pages


async def since_of(api: Api) -> str:
    """The current `since` of the user: the entity tag of the list, without its quotes."""
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


async def delete_account(api: Api) -> None:
    assert (await api.call("DELETE", ME)).status == 204


async def assert_starts_over(api: Api, since: str) -> None:
    await problem_of(await api.call("GET", CHANGES, params={"since": since}), 410, "start-over")


# Content


async def test_without_since_the_response_has_all_tasks_and_no_deletions(owner: Api) -> None:
    first, deleted, last = [await owner.create(title) for title in ("First", "Deleted", "Last")]
    await delete(owner, deleted)
    first = await change(owner, first, title="Changed")

    document = await changes(owner)

    assert document == {**NOTHING, "since": await since_of(owner), "tasks": [last, first]}
    assert list(document) == ["since", "tasks", "deleted", "more"]


async def test_a_changed_task_is_listed_once_in_the_order_of_its_last_change(owner: Api) -> None:
    often, _, once = [await owner.create(title) for title in ("Often", "Never", "Once")]
    since = await since_of(owner)
    await change(owner, often, completed=True)
    once = await change(owner, once, priority="high")
    often = await change(owner, often, title="Very often")
    new = await owner.create("New")

    document = await changes(owner, since)

    assert document == {**NOTHING, "since": await since_of(owner), "tasks": [once, often, new]}


async def test_a_task_has_the_same_text_as_in_the_list(owner: Api) -> None:
    await owner.create('},{"é\\u00e9\u2028', description='],"deleted":[\x01🎄')

    listed, changed = [await (await owner.call("GET", path)).text() for path in (TASKS, CHANGES)]

    assert f'"tasks":{listed},' in changed


async def test_the_since_of_the_last_response_gets_no_changes(owner: Api) -> None:
    task = await owner.create()
    since = (await changes(owner))["since"]
    await change(owner, task, title=task["title"])

    assert await changes(owner, since) == {**NOTHING, "since": since}


async def test_a_deleted_task_is_listed_by_its_id_alone(owner: Api) -> None:
    task = await owner.create("My secret", description="Hidden")
    since = await since_of(owner)
    await delete(owner, task)

    response = await owner.call("GET", CHANGES, params={"since": since})

    text = await response.text()
    assert await response.json() == {**NOTHING, "since": await since_of(owner), "deleted": [task["id"]]}
    assert "secret" not in text
    assert "Hidden" not in text


async def test_a_task_created_and_deleted_after_since_is_listed_as_deleted(owner: Api) -> None:
    await owner.create()
    since = await since_of(owner)
    deleted = await delete(owner, await owner.create())

    assert await changes(owner, since) == {**NOTHING, "since": await since_of(owner), "deleted": [deleted]}


# Pages


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 1000])
async def test_pages_contain_every_change_and_more_is_false_only_on_the_last_page(owner: Api, limit: int) -> None:
    tasks = [await owner.create(str(n)) for n in range(5)]
    since = await since_of(owner)
    changed, deleted = [], []
    for n in (4, 1):
        changed.append(await change(owner, tasks[n], completed=True))
        deleted.append(await delete(owner, tasks[n - 1]))
    deleted.append(await delete(owner, tasks[2]))

    pages = await walk(owner, since, limit)

    assert [task for page in pages for task in page["tasks"]] == changed
    assert [task_id for page in pages for task_id in page["deleted"]] == deleted
    # Each revision from 6 to 10 is one change. All pages except the last are full, and the last is never empty.
    ends = [*range(5 + limit, 10, limit), 10]
    assert [page["since"] for page in pages] == [f"{since.rpartition('-')[0]}-{end}" for end in ends]
    counts = [len(page["tasks"]) + len(page["deleted"]) for page in pages]
    assert counts == [end - begin for begin, end in zip([5, *ends], ends, strict=False)]


async def test_without_since_the_more_flag_does_not_count_deletions(owner: Api) -> None:
    kept, deleted = await owner.create(), await owner.create()
    await delete(owner, deleted)

    assert await changes(owner, limit=1) == {**NOTHING, "since": await since_of(owner), "tasks": [kept]}


async def test_a_task_deleted_during_the_first_synchronisation_is_listed_as_deleted(owner: Api) -> None:
    sent, waiting, kept = [await owner.create() for _ in range(3)]
    first = await changes(owner, limit=1)
    assert (first["tasks"], first["more"]) == ([sent], True)
    deleted = [await delete(owner, task) for task in (sent, waiting)]

    document = await changes(owner, first["since"])

    assert document == {"since": await since_of(owner), "tasks": [kept], "deleted": deleted, "more": False}


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_tasks_with_equal_revisions_are_on_one_page(
    owner: Api, connection: asyncpg.Connection, limit: int
) -> None:
    await owner.create()
    await connection.execute(INSERT, owner.user_id, [1, 1, 3, 3, 3, 4])
    await connection.execute("UPDATE users SET revision = 4 WHERE id = $1", owner.user_id)
    begin = f"{(await since_of(owner)).rpartition('-')[0]}-0"

    for since in (None, begin):
        pages = await walk(owner, since, limit)
        tasks = [task for page in pages for task in page["tasks"]]
        assert [task["revision"] for task in tasks] == [1, 1, 1, 3, 3, 3, 4]
        assert {task["id"] for task in tasks} == {task["id"] for task in await owner.tasks()}
        assert all(page["tasks"] for page in pages)
        assert pages[-1]["since"] == await since_of(owner)


async def test_a_page_has_at_most_1000_tasks(owner: Api, connection: asyncpg.Connection) -> None:
    await owner.create()
    await connection.execute(INSERT, owner.user_id, range(2, 1002))
    await connection.execute("UPDATE users SET revision = 1001 WHERE id = $1", owner.user_id)

    pages = await walk(owner, None, 1000)

    assert await changes(owner) == pages[0]
    assert [len(page["tasks"]) for page in pages] == [1000, 1]


# Starting over


async def test_the_since_of_an_empty_list_stays_valid(owner: Api, stranger: Api) -> None:
    nothing = await changes(owner)
    assert nothing == {**NOTHING, "since": await since_of(owner)} == await changes(owner, nothing["since"])
    assert nothing["since"] != (await changes(stranger))["since"]
    task = await owner.create()
    await delete(owner, await owner.create())

    document = await changes(owner, nothing["since"])

    assert document == {**NOTHING, "since": await since_of(owner), "tasks": [task]}


async def test_a_since_from_before_the_account_was_deleted_gets_410(owner: Api) -> None:
    nothing = (await changes(owner))["since"]
    await owner.create()
    since = (await changes(owner))["since"]
    await delete_account(owner)

    await assert_starts_over(owner, since)
    assert await changes(owner) == {**NOTHING, "since": nothing}
    task = await owner.create()
    await assert_starts_over(owner, since)
    assert (await changes(owner, nothing))["tasks"] == (await changes(owner))["tasks"] == [task]


async def test_a_since_of_another_user_or_of_the_future_gets_410(owner: Api, stranger: Api) -> None:
    strangers = [await since_of(stranger)]
    await stranger.create()
    strangers.append(await since_of(stranger))
    empty = (await since_of(owner)).rpartition("-")[0]

    for _ in range(2):  # first without tasks, then with a task
        for since in (*strangers, f"{UNKNOWN_ID}-0", f"{UNKNOWN_ID}-1", f"{empty}-1"):
            await assert_starts_over(owner, since)
        await owner.create()
    generation = (await since_of(owner)).rpartition("-")[0]
    for revision in (3, 2**31, 2**63 - 1, 2**63, 10**19 - 1):
        await assert_starts_over(owner, f"{generation}-{revision}")
    assert len((await changes(owner, f"{generation}-0"))["tasks"]) == 2
