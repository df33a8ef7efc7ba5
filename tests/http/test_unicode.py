"""Text comes back as it was sent, letter by letter, whatever it looks like; what can't be stored is refused."""

import json
from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.support.api import TASKS, Api, path_of, problem_of, task_of

pytestmark = pytest.mark.database

TEXTS = {
    "composed": "\u00e9\u1e69",
    "decomposed": "e\u0301s\u0323\u0307",
    "decomposed in another order": "e\u0301s\u0307\u0323",
    "many combining marks": "Z" + "\u0351\u036b\u0343" * 60,
    "a mark without a letter": "\u0301x",
    "compatibility forms": "\ufb01 \uff21 \u2460 \u00b2 \u2126",
    "right to left": "\u05d0\u05d1\u05d2 abc \u0627\u0644",
    "controls of direction": "a\u202eb\u202d\u2066c\u2069\u200f\u061cd",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "a flag and skin": "\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "nothing to be seen": "\u200b\u200c\u200d\u2060\u00ad",
    "a byte order mark": "\ufeffx\ufeff",
    "noncharacters": "a\ufffe\uffff\ufdd0\U0001ffff\U0010ffff",
    "private use": "\ue000\U000f0000",
    "replacement": "\ufffd",
    "tags": "\U000e0001\U000e0041",
    "separators of lines": "a\u2028b\u2029c\u0085d\ne\r\nf\x0bg\x0ch\x1ci",
    "controls": "a\x01\x02\x1b[31m\x7f\x80\x9fb",
    "case that grows": "\u00df\ufb03\u0130\u0149",
    "Greek and Turkish case": "\u03a3\u03c3\u03c2 Iı\u0130i",
    "four bytes each": "\U00010348" * 200,
    "quotes and backslashes": "\"\\/\b\f\n\r\t\\u0000\\ud800 ' ` <script>&amp;",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_text_comes_back_as_it_was_sent_from_everywhere(owner: Api, text: str) -> None:
    task = await owner.create(text, description=text)
    assert (task["title"], task["description"]) == (text, text)
    assert await owner.get(task) == task
    assert await owner.tasks() == [task]
    assert await owner.tasks(q=text) == [task]
    changes = await (await owner.call("GET", f"{TASKS}/changes")).json()
    assert changes["tasks"] == [task]
    exported = await (await owner.call("GET", "/api/export")).read()
    assert exported.count(b"\n") == 1, "a task is a line, whatever it says"
    assert task_of(json.loads(exported)) == task
    changed = await owner.call("PATCH", path_of(task), json={"title": text, "description": text})
    assert await changed.json() == task, "nothing has changed"


@pytest.mark.parametrize("escaped", [True, False])
async def test_text_may_be_escaped_or_not(owner: Api, escaped: bool) -> None:
    for text in TEXTS.values():
        body = json.dumps({"title": text}, ensure_ascii=escaped).encode()
        response = await owner.call("POST", TASKS, data=body, headers={"Content-Type": "application/json"})
        assert (await response.json())["title"] == text


async def test_forms_that_look_alike_are_different(owner: Api) -> None:
    composed, decomposed = await owner.create("\u00e9"), await owner.create("e\u0301")
    assert await owner.tasks(q="\u00e9") == [composed]
    assert await owner.tasks(q="e\u0301") == [decomposed]


@pytest.mark.parametrize("character", ["\U0001f99c", "e\u0301", "\U00010348", "\u0301", "\ufeff", "\U0010ffff"])
async def test_limits_count_code_points(owner: Api, character: str) -> None:
    title, description = character * (200 // len(character)), character * (1000 // len(character))
    task = await owner.create(title, description=description)
    assert (task["title"], task["description"]) == (title, description)
    for name, text in (("title", title), ("description", description)):
        response = await owner.call("POST", TASKS, json={"title": "x", name: text + character})
        assert list((await problem_of(response, 400, "invalid-body"))["errors"]) == [name]
    assert await owner.tasks(q=title) == [task]
    await problem_of(await owner.call("GET", TASKS, params={"q": title + character}), 400, "invalid-query")


@pytest.mark.parametrize("space", ["\u3000", "\u2028", "\u00a0", "\x85", "\x1f", "\u2003"])
async def test_titles_are_trimmed_of_all_that_is_space_and_of_nothing_else(owner: Api, space: str) -> None:
    assert (await owner.create(f"{space}a{space}b{space}"))["title"] == f"a{space}b"
    assert (await owner.create("\u200bx\ufeff"))["title"] == "\u200bx\ufeff"
    await problem_of(await owner.call("POST", TASKS, json={"title": space}), 400, "invalid-body")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_users_are_who_their_tokens_say_letter_by_letter(user: Callable[..., Api], text: str) -> None:
    name = f"{text[:100]}{uuid4()}"
    somebody, alike = user(name), user(f"{name}\u200b")
    task = await somebody.create()
    assert task["user_id"] == name
    assert await somebody.tasks() == [task]
    assert await alike.tasks() == []


BROKEN = [
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\xf0\x9f\xa6",
    b"\x80",
    b"\xfe\xff",
]


@pytest.mark.parametrize("octets", BROKEN)
async def test_what_is_no_utf_8_is_refused_wherever_it_is(owner: Api, octets: bytes) -> None:
    escaped = "".join(f"%{octet:02x}" for octet in octets)
    body = b'{"title":"' + octets + b'"}'
    response = await owner.call("POST", TASKS, data=body, headers={"Content-Type": "application/json"})
    await problem_of(response, 400, "malformed-json")
    await problem_of(await owner.call("GET", f"{TASKS}?q={escaped}"), 400, "invalid-query")
    assert (await owner.call("GET", f"{TASKS}/{escaped}")).status == 404
    assert await owner.tasks() == []
