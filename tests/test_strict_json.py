"""Strict JSON: bodies that are small but expensive to parse are refused quickly, and nothing is stored."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.api import JSON, TASKS, Api, problem_of
from tests.support.processes import TEST_TIMEOUT

pytestmark = pytest.mark.database

LIMIT = 65_536
QUICKLY = TEST_TIMEOUT  # most bodies take a millisecond; a quadratic algorithm would take minutes

EXPENSIVE: dict[str, tuple[bytes, int, str]] = {
    "arrays in arrays": (b"[" * LIMIT, 400, "malformed-json"),
    "arrays in arrays, complete": (b"[" * 32_000 + b"]" * 32_000, 400, "malformed-json"),
    "objects in objects": (b'{"a":' * 13_000, 400, "malformed-json"),
    "objects in objects, complete": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "malformed-json"),
    "arrays and objects in turn": (b'[{"a":' * 9_000 + b"1" + b"}]" * 5_000, 400, "malformed-json"),
    "a value nested deeply": (b'{"title":' + b"[" * 900 + b"]" * 900 + b"}", 400, "invalid-body"),
    "an integer of 65,000 digits": (b'{"title":' + b"9" * 65_000 + b"}", 400, "malformed-json"),
    "a fraction of 65,000 digits": (b'{"title":0.' + b"9" * 65_000 + b"}", 400, "invalid-body"),
    "an exponent of 65,000 digits": (b'{"title":1e' + b"9" * 65_000 + b"}", 400, "invalid-body"),
    "thousands of big integers": (b'{"title":[' + b",".join([b"9" * 399] * 160) + b"]}", 400, "invalid-body"),
    "thousands of members": (
        b"{" + b",".join(b'"%d":1' % number for number in range(7_000)) + b"}",
        400,
        "invalid-body",
    ),
    "thousands of equal members": (b"{" + b",".join([b'"a":1'] * 10_000) + b"}", 400, "malformed-json"),
    "thousands of equal members in a value": (
        b'{"title":{' + b",".join([b'"a":1'] * 10_000) + b"}}",
        400,
        "malformed-json",
    ),
    "thousands of empty objects": (b'{"title":[' + b",".join([b"{}"] * 20_000) + b"]}", 400, "invalid-body"),
    "thousands of escapes": (b'{"title":"' + rb"\u0041" * 10_000 + b'"}', 400, "invalid-body"),
    "thousands of lone surrogates": (b'{"title":"' + rb"\ud83d" * 10_000 + b'"}', 400, "invalid-body"),
    "thousands of backslashes": (b'{"title":"' + b"\\" * 60_000 + b'"}', 400, "invalid-body"),
    "an incomplete escape": (b'{"title":"' + b"\\" * 59_999 + b'"}', 400, "malformed-json"),
    "a name of 65,000 characters": (b'{"' + b"a" * 65_000 + b'":1}', 400, "invalid-body"),
    "only spaces": (b" " * LIMIT, 400, "malformed-json"),
    "thousands of spaces before a value": (b'{"title":' + b" \t\r\n" * 16_000 + b"}", 400, "malformed-json"),
    "a string that does not end": (b'{"title":"' + b"a" * 65_000, 400, "malformed-json"),
    "one byte above the limit": (b" " * (LIMIT + 1), 413, "body-too-large"),
    "a megabyte": (b"[" * 1_000_000, 413, "body-too-large"),
}

WRITES = [("POST", ""), ("PATCH", "/{id}"), ("PUT", "/{id}"), ("PATCH", "/{id}/complete")]


@pytest.mark.parametrize(("body", "status", "name"), EXPENSIVE.values(), ids=EXPENSIVE.keys())
async def test_an_expensive_body_is_refused_quickly(owner: Api, body: bytes, status: int, name: str) -> None:
    task = await owner.create()
    async with asyncio.timeout(QUICKLY):
        for method, path in WRITES:
            response = await owner.call(method, TASKS + path.format(**task), data=body, headers=JSON)
            document = await problem_of(response, status, name)
            assert len(await response.read()) < 20_000, document
    assert await owner.tasks() == [task]


@pytest.mark.parametrize("size", [1, 1_000, 60_000])
async def test_a_chunked_body_above_the_limit_gets_413(owner: Api, size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(LIMIT // size + 1):
            yield b" " * size

    async with asyncio.timeout(QUICKLY):  # if the size is 1, the test sends 65,537 chunks
        response = await owner.call("POST", TASKS, data=chunks(), headers=JSON)
        await problem_of(response, 413, "body-too-large")
    assert await owner.tasks() == []


async def test_an_unusual_body_within_the_limit_is_accepted(owner: Api) -> None:
    title = b'{"title":"' + rb"\ud83e\udd9c" * 200 + b'","description":"' + rb"\u0009" * 1000 + b'"}'
    response = await owner.call("POST", TASKS, data=(b" \t\r\n" * 10_000 + title).ljust(LIMIT), headers=JSON)
    assert response.status == 201
    assert [task["title"] for task in await owner.tasks()] == ["🦜" * 200]
