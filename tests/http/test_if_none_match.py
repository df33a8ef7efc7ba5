"""`If-None-Match` (RFC 9110, section 13.1.2): a read gets 304 if one of the tags matches."""

from typing import Any

import asyncpg
import pytest

from tests.support.api import TASKS, Api, call_with_header, path_of, tag_of
from tests.support.conditional_requests import MATCHING, NOT_MATCHING, QUERIES, WEAKLY_MATCHING, assert_304
from tests.support.list_pages import create_some
from todo_service.database.database import Database

pytestmark = pytest.mark.database


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("value", MATCHING + WEAKLY_MATCHING)
async def test_a_read_with_a_matching_if_none_match_gets_304(owner: Api, method: str, value: str) -> None:
    path = path_of(await owner.create())
    for address in (path, TASKS):
        tag = await tag_of(owner, address)
        response = await call_with_header(owner, method, address, "If-None-Match", value.format(tag))
        await assert_304(response, tag, weak=value in WEAKLY_MATCHING)


@pytest.mark.parametrize("value", NOT_MATCHING)
async def test_a_read_without_a_matching_if_none_match_gets_200(owner: Api, value: str) -> None:
    task = await owner.create()
    for address, expected in ((path_of(task), task), (TASKS, [task])):
        tag = await tag_of(owner, address)
        response = await call_with_header(owner, "GET", address, "If-None-Match", value.format(tag))
        assert (response.status, await response.json(), response.headers["ETag"]) == (200, expected, f'"{tag}"')


async def test_a_304_for_a_list_reads_no_tasks(owner: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await create_some(owner, 6)
    tag = await tag_of(owner)
    bodies = []
    run = Database.run

    async def record(self: Database, *args: Any) -> asyncpg.Record:
        row = await run(self, *args)
        bodies.append(row["body"])
        return row

    monkeypatch.setattr(Database, "run", record)
    for query in QUERIES:
        for value in (f'"x", "{tag}"', "*"):
            await assert_304(await call_with_header(owner, "GET", TASKS + query, "If-None-Match", value), tag)
    assert bodies == ["[]"] * 2 * len(QUERIES)
