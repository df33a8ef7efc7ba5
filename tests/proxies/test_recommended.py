"""The files docs/deployment/nginx.conf and apache.conf: all that the API offers works through these proxies."""

import gzip
import json
from uuid import uuid4

import pytest

from tests.proxies.conftest import MakeCaller
from tests.support.exports import LONGEST, MakeUser

pytestmark = pytest.mark.xdist_group("proxies")

LARGE = 200
"""Tasks whose list the service compresses."""


async def test_tags_of_a_task_work_in_reads_and_writes(recommended: str, caller: MakeCaller) -> None:
    alice = await caller(recommended)
    created = await alice.call("POST", "api/tasks", json={"title": "Buy milk"})
    assert (created.status, created.headers["ETag"]) == (201, '"1"')
    address = str(alice.at(created.headers["Location"], created.url))

    read = await alice.call("GET", address)
    assert (read.status, read.headers["ETag"]) == (200, '"1"')
    assert await read.json() == await created.json()
    again = await alice.call("GET", address, headers={"If-None-Match": '"1"'})
    assert (again.status, again.headers["ETag"]) == (304, '"1"')
    assert "Accept-Encoding" in again.headers["Vary"]

    changed = await alice.call("PATCH", address, json={"title": "Buy soap"}, headers={"If-Match": '"1"'})
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    late = await alice.call("PATCH", address, json={"title": "Buy tea"}, headers={"If-Match": '"1"'})
    assert (late.status, late.headers["ETag"], late.content_type) == (412, '"2"', "application/problem+json")
    deleted = await alice.call("DELETE", address, headers={"If-Match": late.headers["ETag"]})
    assert deleted.status == 204
    assert (await alice.call("GET", address)).status == 404


async def test_a_large_list_is_coded_once_and_has_a_tag_of_its_own(
    recommended: str, caller: MakeCaller, user_with: MakeUser
) -> None:
    user = await user_with(LARGE, "Two bottles")
    alice, plain = await caller(recommended, user), await caller(recommended, user, "identity")
    coded, uncoded = await alice.call("GET", "api/tasks"), await plain.call("GET", "api/tasks")
    assert coded.headers.getall("Content-Encoding") == ["gzip"]
    assert "Content-Encoding" not in uncoded.headers
    assert gzip.decompress(await coded.read()) == await uncoded.read()
    assert len(json.loads(await uncoded.read())) == LARGE
    assert coded.headers["ETag"] == uncoded.headers["ETag"].removesuffix('"') + '-gzip"'
    for response in (coded, uncoded):
        tag = response.headers["ETag"]
        known = await alice.call("GET", "api/tasks", headers={"If-None-Match": tag})
        assert (known.status, known.headers["ETag"]) == (304, tag)


async def test_an_export_is_coded_once(recommended: str, caller: MakeCaller, user_with: MakeUser) -> None:
    user = await user_with(LARGE, LONGEST)
    alice, plain = await caller(recommended, user), await caller(recommended, user, "identity")
    coded, uncoded = await alice.call("GET", "api/export"), await plain.call("GET", "api/export")
    assert coded.headers.getall("Content-Encoding") == ["gzip"]
    assert gzip.decompress(await coded.read()) == await uncoded.read()
    assert (await uncoded.read()).count(b"\n") == LARGE


async def test_links_lead_to_all_pages_even_if_they_are_long(recommended: str, caller: MakeCaller) -> None:
    alice = await caller(recommended)
    title = "🍎" * 199
    for each in "abc":
        assert (await alice.call("POST", "api/tasks", json={"title": title + each})).status == 201
    address = alice.at("api/tasks").with_query(limit="1", sort="title", q=title)
    titles = [task["title"] async for task in alice.pages(str(address))]
    assert titles == [title + each for each in "abc"]


async def test_errors_are_those_of_the_service(recommended: str, caller: MakeCaller) -> None:
    alice = await caller(recommended)
    too_large = await alice.call("POST", "api/tasks", json={"title": "x" * 500_000})
    unknown = await alice.call("GET", "api/tasks/1")
    anonymous = await alice.call("GET", "api/tasks", headers={"Authorization": ""})
    for response, status in ((too_large, 413), (unknown, 404), (anonymous, 401)):
        assert (response.status, response.content_type) == (status, "application/problem+json")
        assert response.headers["Cache-Control"] == "no-store"
    assert anonymous.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_repeated_create_is_recognised(recommended: str, caller: MakeCaller) -> None:
    alice, key = await caller(recommended), {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.call("POST", "api/tasks", json={"title": "x"}, headers=key) for _ in range(2)]
    assert (first.status, second.status) == (201, 200)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["Location"] == first.headers["Location"]


async def test_everything_without_a_token_is_public_except_metrics(recommended: str, caller: MakeCaller) -> None:
    alice = await caller(recommended)
    for address in ("metrics", "metrics?x", "%6detrics", "/api/..//metrics"):
        assert (await alice.call("GET", address)).status in {403, 404}
    for address in ("health", "health/ready", "docs", "problems", "openapi.json"):
        assert (await alice.call("GET", address)).status == 200
