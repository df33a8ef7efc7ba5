"""Compressed responses: which responses are compressed, for which clients, and their entity tags."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse, ClientSession, DummyCookieJar
from pytest_aiohttp import AiohttpClient

from tests.support.api import TASKS, Api, Client, path_of, problem_of
from tests.support.conditional_requests import assert_304, assert_412
from tests.support.exports import EXPORT, tasks_in
from tests.support.processes import TEST_TIMEOUT
from todo_service.app import create_app
from todo_service.http import compression
from todo_service.settings import Settings

GZIP = {"Accept-Encoding": "gzip"}
MANY, FEW = 40, 10
"""Numbers of tasks whose lists have more and less than 8 KiB."""


def unzip(body: bytes) -> bytes:
    """Decompresses a complete gzip member, and nothing else."""
    stream = zlib.decompressobj(wbits=31)
    text = stream.decompress(body)
    assert stream.eof
    assert stream.unused_data == b""
    return text


class RawApi(Api):
    """Calls that send only the headers of the test, and that don't decompress responses."""

    async def call(self, method: str, path: str, **kwargs: Any) -> ClientResponse:
        response = await super().call(method, path, skip_auto_headers=["Accept-Encoding"], **kwargs)
        await response.read()  # releases the connection
        return response


@pytest.fixture
async def raw(owner: Api) -> AsyncIterator[RawApi]:
    """The owner, with a client that doesn't decompress."""
    async with raw_session(owner.client) as session:
        yield RawApi(session, owner.user_id, owner.token)  # type: ignore[arg-type]


@asynccontextmanager
async def raw_session(client: Client) -> AsyncIterator[ClientSession]:
    base = client.make_url("/")
    async with ClientSession(base, auto_decompress=False, cookie_jar=DummyCookieJar()) as session:
        yield session


async def store(connection: asyncpg.Connection, user_id: str, count: int, description: str = "") -> None:
    """Stores tasks of a user who has none."""
    await connection.execute("INSERT INTO users (id, revision) VALUES ($1, $2)", user_id, count)
    await connection.execute(
        "INSERT INTO tasks (user_id, title, description, revision) "
        "SELECT $1, 'Task ' || n, $3, n FROM generate_series(1, $2::integer) AS n",
        user_id,
        count,
        description,
    )


@pytest.fixture
async def many(connection: asyncpg.Connection, raw: RawApi) -> RawApi:
    """The owner of MANY tasks."""
    await store(connection, raw.user_id, MANY)
    return raw


async def coding_of(api: Api, accept: str | None, path: str = TASKS) -> str:
    """The coding of a response, which must be right: its body is the uncompressed body, and its tag has the suffix."""
    plain = await api.call("GET", path)
    response = await api.call("GET", path, headers={} if accept is None else {"Accept-Encoding": accept})
    assert response.status == 200
    body, headers = await response.read(), response.headers
    assert headers["Content-Length"] == str(len(body))
    assert headers["Vary"] == plain.headers["Vary"] == "Authorization, Origin, Accept-Encoding"
    coding = headers.get("Content-Encoding", "identity")
    assert (unzip(body) if coding == "gzip" else body) == await plain.read()
    suffix = "-gzip" if coding == "gzip" else ""
    assert headers.get("ETag") == (f'{plain.headers["ETag"][:-1]}{suffix}"' if "ETag" in plain.headers else None)
    return coding


@pytest.mark.parametrize(
    "accept",
    [
        "gzip", "GZIP", "x-gzip", "gzip, deflate", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1",
        "deflate, gzip;q=1.0, *;q=0.5", "*", "gzip;q=0.001", "gzip ; q=0.5", "identity, gzip", "identity;q=0.5, *",
        ",gzip,", "gzip;q=1.000", "*;q=0, gzip", "identity;q=0, gzip;q=0.5",
    ],
)  # fmt: skip
async def test_a_large_list_is_compressed_for_clients_that_accept_gzip(many: RawApi, accept: str) -> None:
    assert await coding_of(many, accept) == "gzip"


@pytest.mark.parametrize(
    "accept",
    [
        None, "", "identity", "br", "deflate", "zstd, br", "gzip;q=0", "gzip;q=0.0, *", "*;q=0", "gzip;q=x",
        "gzip;q=-1", "gzip;q=1.5;x", "gzipped", "identity, gzip;q=0.5", "gzip;level=1", "gzip/1",
    ],
)  # fmt: skip
async def test_a_large_list_is_not_compressed_for_other_clients(many: RawApi, accept: str | None) -> None:
    assert await coding_of(many, accept) == "identity"


async def test_several_lines_of_accept_encoding_are_one_list(many: RawApi) -> None:
    response = await many.client.get(
        TASKS,
        headers=[("Authorization", f"Bearer {many.token}"), ("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")],
    )
    assert unzip(await response.read())


async def test_small_lists_and_tasks_are_not_compressed(connection: asyncpg.Connection, raw: RawApi) -> None:
    await store(connection, raw.user_id, FEW)
    task = json.loads(await (await raw.call("GET", f"{TASKS}?limit=1")).read())[0]
    for path in (TASKS, f"{TASKS}/changes", path_of(task)):
        assert await coding_of(raw, "gzip", path) == "identity"


async def test_changes_are_compressed(many: RawApi) -> None:
    assert await coding_of(many, "gzip", f"{TASKS}/changes") == "gzip"


@pytest.mark.parametrize("size", [compression.MIN_BYTES_FOR_THREAD, 1])
async def test_lists_are_compressed_in_the_event_loop_or_in_a_thread(
    many: RawApi, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(compression, "MIN_BYTES_FOR_THREAD", size)
    assert await coding_of(many, "gzip") == "gzip"


async def test_a_head_request_gets_the_headers_of_the_compressed_response(many: RawApi) -> None:
    get, head = [await many.call(method, TASKS, headers=GZIP) for method in ("GET", "HEAD")]
    for name in ("Content-Encoding", "Content-Length", "ETag", "Vary", "Content-Type"):
        assert head.headers[name] == get.headers[name]
    assert await head.read() == b""


async def test_errors_are_never_compressed(raw: RawApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MIN_BYTES", 1)
    for path, status in ((f"{TASKS}?limit=0", 400), (f"{TASKS}/none", 404), ("/api/none", 404)):
        response = await raw.call("GET", path, headers=GZIP)
        assert response.status == status
        assert "Content-Encoding" not in response.headers
        assert json.loads(await response.read())["status"] == status


async def test_pages_and_files_of_the_documentation_are_compressed(client: Client) -> None:
    async with raw_session(client) as session:
        for path in ("/docs/static/swagger-ui-bundle.js", "/docs/static/swagger-ui.css", "/openapi.json", "/problems"):
            for _ in range(2):  # the second response is from the cache
                plain = await session.get(path, headers={"Accept-Encoding": "identity"})
                response = await session.get(path, headers=GZIP)
                assert response.headers["Content-Encoding"] == "gzip"
                assert unzip(await response.read()) == await plain.read()
                assert response.headers["ETag"] == f'{plain.headers["ETag"][:-1]}-gzip"'
                assert response.headers["Vary"] == plain.headers["Vary"] == "Origin, Accept-Encoding"
            known = {"If-None-Match": response.headers["ETag"]}
            again = await session.get(path, headers=known | GZIP)
            assert (again.status, again.headers["ETag"]) == (304, response.headers["ETag"])
            assert again.headers["Vary"] == "Origin, Accept-Encoding"


async def test_metrics_are_compressed_for_prometheus(client: Client) -> None:
    async with raw_session(client) as session:
        response = await session.get("/metrics", headers=GZIP)
        assert response.headers["Content-Encoding"] == "gzip"
        assert b"todo_service_" in unzip(await response.read())


@pytest.mark.parametrize("count", [FEW, MANY])
async def test_an_export_of_one_page_is_compressed_if_it_is_compressible(
    connection: asyncpg.Connection, raw: RawApi, count: int
) -> None:
    await store(connection, raw.user_id, count)
    response = await raw.call("GET", EXPORT, headers=GZIP)
    body = await response.read()
    assert ("Content-Encoding" in response.headers) is (count == MANY)
    assert len(tasks_in(unzip(body) if count == MANY else body)) == count


async def test_a_compressed_export_has_the_same_lines(connection: asyncpg.Connection, raw: RawApi) -> None:
    await store(connection, raw.user_id, 250, description="x" * 1000)  # three pages; threads compress the first two
    plain = await raw.call("GET", EXPORT)
    response = await raw.call("GET", EXPORT, headers=GZIP)
    assert (plain.headers.get("Content-Encoding"), response.headers["Content-Encoding"]) == (None, "gzip")
    assert response.headers["Content-Type"] == plain.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert unzip(await response.read()) == await plain.read()


async def test_each_page_of_a_compressed_export_can_be_read_before_the_next_one_exists() -> None:
    async def pages() -> AsyncIterator[bytes]:
        for page in (b"first\n", b"second\n"):
            produced.append(page)
            yield page

    produced: list[bytes] = []
    stream = zlib.decompressobj(wbits=31)
    compressed = compression.compress_stream(pages())
    assert stream.decompress(await anext(compressed)) == b"first\n"
    assert produced == [b"first\n"]
    assert stream.decompress(await anext(compressed)) == b"second\n"
    assert stream.decompress(await anext(compressed)) == b""
    assert stream.eof


SUFFIXES = ["-gzip", "--br", ";zstd", "-deflate"]
OTHER_SUFFIXES = [
    "-x",
    "-gzi",
    "gzip",
    "_gzip",
    "-GZIP",
    "---gzip",
    "-gzip-gzip",
    ";",
    "-",
    "-identity",
    "/gzip",
]


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_a_tag_with_the_suffix_of_a_coding_matches(many: RawApi, suffix: str) -> None:
    task = json.loads(await (await many.call("GET", f"{TASKS}?limit=1")).read())[0]
    for path in (TASKS, path_of(task)):
        tag = (await many.call("GET", path)).headers["ETag"].strip('"') + suffix
        await assert_304(await many.call("GET", path, headers={"If-None-Match": f'"x", "{tag}"'}), tag)
        await assert_304(await many.call("GET", path, headers={"If-None-Match": f'W/"{tag}"'} | GZIP), tag, weak=True)
        assert (await many.call("GET", path, headers={"If-Match": f'"{tag}"'})).status == 200
    changed = await many.call("PATCH", path_of(task), json={"title": "x"}, headers={"If-Match": f'"{tag}"'})
    assert changed.status == 200
    await assert_412(
        await many.call("DELETE", path_of(task), headers={"If-Match": f'"{tag}"'} | GZIP),
        json.loads(await changed.read())["revision"],
    )


@pytest.mark.parametrize("suffix", OTHER_SUFFIXES)
async def test_a_tag_with_another_suffix_does_not_match(many: RawApi, suffix: str) -> None:
    tag = (await many.call("GET", TASKS)).headers["ETag"].strip('"') + suffix
    for header, status in (("If-None-Match", 200), ("If-Match", 412)):
        assert (await many.call("GET", TASKS, headers={header: f'"{tag}"'})).status == status


async def test_the_tag_of_a_compressed_list_serves_reads_writes_and_synchronisation(many: RawApi) -> None:
    response = await many.call("GET", TASKS, headers=GZIP)
    tag = response.headers["ETag"].strip('"')
    assert tag.endswith("-gzip")
    await assert_304(await many.call("GET", TASKS, headers={"If-None-Match": f'"{tag}"'} | GZIP), tag)
    assert (await many.call("GET", TASKS, headers={"If-Match": f'"{tag}"'})).status == 200
    for since in (tag, tag.removesuffix("-gzip")):
        changes = json.loads(await (await many.call("GET", f"{TASKS}/changes?since={since}")).read())
        assert (changes["since"], changes["tasks"]) == (tag.removesuffix("-gzip"), [])
    await many.call("POST", TASKS, json={"title": "x"})
    current = (await many.call("GET", TASKS)).headers["ETag"].strip('"')
    await assert_412(await many.call("GET", TASKS, headers={"If-Match": f'"{tag}"'} | GZIP), current)


async def test_compression_off_sends_everything_uncompressed(
    aiohttp_client: AiohttpClient, settings: Settings, connection: asyncpg.Connection, owner: Api
) -> None:
    await store(connection, owner.user_id, 150)
    client: Client = await aiohttp_client(create_app(replace(settings, compression="off")))
    async with raw_session(client) as session:
        for path in (TASKS, EXPORT, "/openapi.json"):
            response = await session.get(path, headers=GZIP | {"Authorization": f"Bearer {owner.token}"})
            assert await response.read()
            assert response.status == 200
            assert "Content-Encoding" not in response.headers
            assert "gzip" not in response.headers.get("ETag", "")


async def test_a_malformed_accept_encoding_is_no_error(many: RawApi) -> None:
    for accept in (";", "gzip;;q=1", "\x80", "q=1", "gzip;q=1;q=0", "g" * 10_000):
        assert await coding_of(many, accept) == "identity"
    assert (await problem_of(await many.call("GET", f"{TASKS}?limit=0", headers=GZIP), 400, "invalid-query"))["errors"]


async def test_the_end_of_the_connection_ends_an_export_in_http_1_0(connection: asyncpg.Connection, owner: Api) -> None:
    await store(connection, owner.user_id, 150)
    reader, writer = await asyncio.open_connection(owner.client.host, owner.client.port)
    lines = [f"GET {EXPORT} HTTP/1.0", f"Authorization: Bearer {owner.token}", "Connection: keep-alive", "", ""]
    writer.write("\r\n".join(lines).encode())
    received = await asyncio.wait_for(reader.read(), timeout=TEST_TIMEOUT)
    writer.close()
    assert len(tasks_in(received.partition(b"\r\n\r\n")[2])) == 150
