"""Text: every endpoint returns text as it was sent, and text that PostgreSQL cannot store gets 400."""

import json
from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.support.api import JSON, TASKS, Api, path_of, problem_of, task_of
from tests.support.members import CREATED

pytestmark = pytest.mark.database

TEXTS = {
    "composed": "\u00e9\u1e69",
    "decomposed": "e\u0301s\u0323\u0307",
    "decomposed in another order": "e\u0301s\u0307\u0323",
    "many combining marks": "Z" + "\u0351\u036b\u0343" * 60,
    "a combining mark alone": "\u0301x",
    "compatibility forms": "\ufb01 \uff21 \u2460 \u00b2 \u2126",
    "right to left": "\u05d0\u05d1\u05d2 abc \u0627\u0644",
    "bidirectional controls": "a\u202eb\u202d\u2066c\u2069\u200f\u061cd",
    "an emoji of seven code points": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "a flag and a skin tone": "\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "invisible characters": "\u200b\u200c\u200d\u2060\u00ad",
    "byte order marks": "\ufeffx\ufeff",
    "noncharacters": "a\ufffe\uffff\ufdd0\U0001ffff\U0010ffff",
    "private use": "\ue000\U000f0000",
    "the replacement character": "\ufffd",
    "tag characters": "\U000e0001\U000e0041",
    "line separators": "a\u2028b\u2029c\u0085d\ne\r\nf\x0bg\x0ch\x1ci",
    "control characters": "a\x01\x02\x1b[31m\x1f\x7f\x80\x9fb",
    "letters that grow in upper case": "\u00df\ufb03\u0130\u0149",
    "Greek and Turkish letters": "\u03a3\u03c3\u03c2 Iı\u0130i",
    "four bytes for each letter": "\U00010348" * 200,
    "quotes and backslashes": "\"\\/\b\f\n\r\t\\u0000\\ud800 ' ` <script>&amp;",
}

INVALID_UTF_8 = [
    *(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\xa6", b"\x80", b"\xfe\xff"),
]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_every_endpoint_returns_text_as_it_was_sent(owner: Api, text: str) -> None:
    task = await owner.create(text, description=text)
    assert (task["title"], task["description"]) == (text, text)
    assert await owner.get(task) == task
    assert await owner.tasks() == [task]
    assert await owner.tasks(q=text) == [task]
    changes = await (await owner.call("GET", f"{TASKS}/changes")).json()
    assert changes["tasks"] == [task]
    exported = await (await owner.call("GET", "/api/export")).read()
    assert exported.count(b"\n") == 1, "a task is one line"
    assert task_of(json.loads(exported)) == task


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("escaped", [True, False], ids=["with escapes", "without escapes"])
async def test_text_is_the_same_with_and_without_json_escapes(owner: Api, text: str, escaped: bool) -> None:
    task = await owner.create(text, description=text)
    body = json.dumps({"title": text, "description": text}, ensure_ascii=escaped).encode()
    changed = await owner.call("PATCH", path_of(task), data=body, headers=JSON)
    assert await changed.json() == task, "the update changes nothing"


@pytest.mark.parametrize("character", ["\U0001f99c", "e\u0301", "\U00010348", "\u0301", "\ufeff", "\U0010ffff"])
async def test_length_limits_count_code_points(owner: Api, character: str) -> None:
    title, description = character * (200 // len(character)), character * (1000 // len(character))
    task = await owner.create(title, description=description)
    assert (task["title"], task["description"]) == (title, description)
    for name, text in (("title", title), ("description", description)):
        response = await owner.call("POST", TASKS, json={"title": "x", name: text + character})
        assert list((await problem_of(response, 400, "invalid-body"))["errors"]) == [name]
    assert await owner.tasks(q=title) == [task]
    await problem_of(await owner.call("GET", TASKS, params={"q": title + character}), 400, "invalid-query")


@pytest.mark.parametrize("space", ["\u3000", "\u2028", "\u00a0", "\x85", "\x1f", "\u2003"])
async def test_titles_are_trimmed_of_white_space_and_nothing_else(owner: Api, space: str) -> None:
    assert (await owner.create(f"{space}a{space}b{space}"))["title"] == f"a{space}b"
    assert (await owner.create("\u200bx\ufeff"))["title"] == "\u200bx\ufeff"
    await problem_of(await owner.call("POST", TASKS, json={"title": space}), 400, "invalid-body")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_user_ids_are_compared_code_point_by_code_point(make_user: Callable[..., Api], text: str) -> None:
    user_id = f"{text[:100]}{uuid4()}"
    one, other = make_user(user_id), make_user(f"{user_id}\u200b")
    task = await one.create()
    assert task["user_id"] == user_id
    assert await one.tasks() == [task]
    assert await other.tasks() == []


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\udc00\\ud800", "\\u0000"])
@pytest.mark.parametrize("name", [*CREATED, "unknown"])
async def test_text_that_postgresql_cannot_store_gets_400(owner: Api, name: str, escape: str) -> None:
    members = {"title": '"x"', name: f'"a{escape}b"'}
    body = "{" + ", ".join(f'"{key}": {value}' for key, value in members.items()) + "}"
    response = await owner.call("POST", TASKS, data=body, headers=JSON)
    assert list((await problem_of(response, 400, "invalid-body"))["errors"]) == [name]
    response = await owner.call("POST", TASKS, data=f'{{"title": "x", "a{escape}b": 1}}', headers=JSON)
    await problem_of(response, 400, "invalid-body")
    assert await owner.tasks() == []


@pytest.mark.parametrize("octets", INVALID_UTF_8)
async def test_invalid_utf_8_is_refused_in_bodies_queries_and_paths(owner: Api, octets: bytes) -> None:
    escaped = "".join(f"%{octet:02x}" for octet in octets)
    body = b'{"title":"' + octets + b'"}'
    await problem_of(await owner.call("POST", TASKS, data=body, headers=JSON), 400, "malformed-json")
    await problem_of(await owner.call("GET", f"{TASKS}?q={escaped}"), 400, "invalid-query")
    assert (await owner.call("GET", f"{TASKS}/{escaped}")).status == 404
    assert await owner.tasks() == []
