"""Every bad input gets a problem document that names what is wrong, and leaves nothing behind."""

import asyncio
import gzip
import json
import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.support.api import JSON, TASKS, Api, Client, path_of, problem_of
from tests.support.members import CHANGED, CREATED, MEMBERS
from tests.support.processes import PATIENCE
from todo_service.http.schemas import NewTaskSchema

pytestmark = pytest.mark.database

INVALID_VALUES: dict[str, Sequence[Any]] = {
    **{member.name: member.refused for member in MEMBERS},
    **{name: ["x"] for name in ("Title", "", "__proto__")},
}
INVALID_MEMBERS = [(name, value) for name, values in INVALID_VALUES.items() for value in values]

INVALID_QUERIES = [
    *(
        ("limit", value)
        for value in (
            "0",
            "-1",
            "1001",
            "1e9",
            "1.0",
            "+1",
            "1_0",
            "٣",
            " 1",
            "",
            "x",
            "9" * 20_000,
            "%00",
            "0" * 5000 + "1",
        )
    ),
    *(("status", value) for value in ("", "done", "ALL", "all%00")),
    *(("sort", value) for value in ("", "id", "created_at", "title;", "title'")),
    *(("order", value) for value in ("", "up", "DESC")),
    *((name, "1") for name in ("page", "offset", "Limit", "user_id", "")),
]

MALFORMED = [
    b"",
    b" ",
    b"{",
    b'{"title": "x"',
    b"{'title': 'x'}",
    b'{"title": "x",}',
    b'{"title": "x"} {}',
    b'{"title": "x", "title": "y"}',
    b'{"title": "x", "priority": NaN}',
    b'{"title": "x", "priority": -Infinity}',
    b'{"title": "\x01"}',
    b'{"title": "\xff"}',
    b'{"title": "\xed\xa0\x80"}',
    b'\xef\xbb\xbf{"title": "x"}',
    '{"title": "x"}'.encode("utf-16"),
    b'{"title": ' + b"9" * 5000 + b"}",
    b'{"title": -' + b"9" * 5000 + b"}",
    b"[" * 60_000,
    b'{"title":' * 7000,
    b'{"title": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
]

WRITES = [("POST", ""), ("PUT", "/{id}"), ("PATCH", "/{id}")]


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_an_invalid_member_is_named_and_nothing_is_stored(owner: Api, method: str, path: str) -> None:
    task = await owner.create()
    for name, value in INVALID_MEMBERS:
        body = {**CREATED, name: value}
        response = await owner.call(method, TASKS + path.format(**task), json=body)
        document = await problem_of(response, 400, "invalid-body")
        [(member, messages)] = document["errors"].items()
        assert member == name
        assert document["detail"].startswith(f"{name} ")
        assert all(message.endswith(".") for message in messages)
    assert await owner.tasks() == [task]
    assert (await owner.create())["revision"] == task["revision"] + 1


@pytest.mark.parametrize("value", INVALID_VALUES["completed"])
async def test_a_truthy_value_is_no_boolean(owner: Api, value: Any) -> None:
    task = await owner.create()
    for path in ("", "/complete"):
        response = await owner.call("PATCH", path_of(task) + path, json={"completed": value})
        document = await problem_of(response, 400, "invalid-body")
        assert list(document["errors"]) == ["completed"]
    assert await owner.get(task) == task


async def test_a_title_is_required_to_create(owner: Api) -> None:
    document = await problem_of(await owner.call("POST", TASKS, json={}), 400, "invalid-body")
    assert document["detail"] == "title is required."
    assert document["errors"] == {"title": ["Is required."]}
    assert await owner.tasks() == []


async def test_all_mistakes_are_named_at_once(owner: Api) -> None:
    body = {"title": " ", "priority": "urgent", "unheard_of": "red"}
    document = await problem_of(await owner.call("POST", TASKS, json=body), 400, "invalid-body")
    assert document["detail"] == (
        "title must not be blank; priority must be one of low, medium, high; "
        f"unheard_of is not one of {', '.join(NewTaskSchema().fields)}."
    )


async def test_a_great_many_mistakes_make_a_short_answer(owner: Api) -> None:
    body = {f"{n}{'x' * 20}": 1 for n in range(1500)}
    response = await owner.call("POST", TASKS, json=body)
    document = await problem_of(response, 400, "invalid-body")
    assert len(document["errors"]) == 20


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\udc00\\ud800", "\\u0000"])
@pytest.mark.parametrize("name", [*CREATED, "unheard_of"])
async def test_what_postgresql_cannot_store_is_refused(owner: Api, name: str, escape: str) -> None:
    members = {"title": '"x"', name: f'"a{escape}b"'}
    body = "{" + ", ".join(f'"{key}": {value}' for key, value in members.items()) + "}"
    response = await owner.call("POST", TASKS, data=body, headers=JSON)
    assert list((await problem_of(response, 400, "invalid-body"))["errors"]) == [name]
    response = await owner.call("POST", TASKS, data=f'{{"title": "x", "a{escape}b": 1}}', headers=JSON)
    await problem_of(response, 400, "invalid-body")
    assert await owner.tasks() == []


@pytest.mark.parametrize(("method", "path"), [*WRITES, ("PATCH", "/{id}/complete")])
async def test_malformed_json_is_refused(owner: Api, method: str, path: str) -> None:
    task = await owner.create()
    for body in MALFORMED:
        if not body and path.endswith("/complete"):
            continue
        response = await owner.call(method, TASKS + path.format(**task), data=body, headers=JSON)
        document = await problem_of(response, 400, "malformed-json")
        assert document["detail"].startswith("The request body is not valid JSON: ")
    assert await owner.tasks() == [task]


@pytest.mark.parametrize("body", ["[]", "null", "1", '"x"', "true", '[{"title": "x"}]', "1e999"])
@pytest.mark.parametrize(("method", "path"), [*WRITES, ("PATCH", "/{id}/complete")])
async def test_a_body_that_is_no_object_is_refused(owner: Api, method: str, path: str, body: str) -> None:
    task = await owner.create()
    response = await owner.call(method, TASKS + path.format(**task), data=body, headers=JSON)
    await problem_of(response, 400, "invalid-body")
    assert await owner.tasks() == [task]


async def test_completing_with_an_empty_object_is_refused(owner: Api) -> None:
    task = await owner.create()
    document = await problem_of(await owner.call("PATCH", f"{path_of(task)}/complete", json={}), 400, "invalid-body")
    assert document["errors"] == {"completed": ["Is required."]}


@pytest.mark.parametrize(("name", "value"), INVALID_QUERIES)
async def test_an_invalid_query_parameter_is_named(owner: Api, name: str, value: str) -> None:
    response = await owner.call("GET", f"{TASKS}?{name}={value}")
    document = await problem_of(response, 400, "invalid-query")
    assert list(document["errors"]) == [name]
    assert document["detail"].startswith(f"{name} ")


async def test_a_repeated_query_parameter_is_refused(owner: Api) -> None:
    response = await owner.call("GET", f"{TASKS}?limit=1&limit=1")
    document = await problem_of(response, 400, "invalid-query")
    assert document["errors"] == {"limit": ["Must be given only once."]}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/{id}"), ("DELETE", "/{id}"), ("PATCH", "/{id}/complete"), ("POST", ""), ("PUT", "/{id}")],
)
async def test_a_query_where_there_is_none_is_refused(owner: Api, method: str, path: str) -> None:
    task = await owner.create()
    body = {"title": "y"} if method in ("POST", "PUT") else None
    response = await owner.call(method, f"{TASKS}{path.format(**task)}?limit=1", json=body)
    await problem_of(response, 400, "invalid-query")
    assert await owner.tasks() == [task]


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/json", "application/xml", "application/json; charset=utf-16", "json", "a/b/c;;"],
)
@pytest.mark.parametrize(("method", "path"), [*WRITES, ("PATCH", "/{id}/complete")])
async def test_a_body_of_another_type_is_refused(owner: Api, method: str, path: str, content_type: str) -> None:
    task = await owner.create()
    response = await owner.call(
        method, TASKS + path.format(**task), data=b'{"title": "y"}', headers={"Content-Type": content_type}
    )
    await problem_of(response, 415, "unsupported-media-type")
    accepted = "application/json, application/merge-patch+json" if method == "PATCH" else None
    assert response.headers.get("Accept-Patch") == accepted
    assert await owner.tasks() == [task]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize(
    "body",
    [gzip.compress(b'{"title": "x"}', mtime=0), b"not compressed", gzip.compress(b" " * 10_000_000, mtime=0)],
    ids=["good", "broken", "bomb"],
)
async def test_a_coded_body_is_refused(owner: Api, coding: str, body: bytes) -> None:
    response = await owner.call("POST", TASKS, data=body, headers={**JSON, "Content-Encoding": coding})
    await problem_of(response, 415, "unsupported-media-type")
    assert await owner.tasks() == []


async def test_a_second_coding_is_not_overlooked(owner: Api) -> None:
    headers = [*JSON.items(), ("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
    headers.append(("Authorization", f"Bearer {owner.token}"))
    response = await owner.client.post(TASKS, data=b'{"title": "x"}', headers=CIMultiDict(headers))
    await problem_of(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("size", [65_537, 3_000_000])
@pytest.mark.parametrize(("method", "path"), [*WRITES, ("PATCH", "/{id}/complete")])
async def test_a_large_body_is_refused(owner: Api, method: str, path: str, size: int) -> None:
    task = await owner.create()
    body = BytesIO(b'{"title": "x"}'.ljust(size))
    response = await owner.call(method, TASKS + path.format(**task), data=body, headers=JSON)
    await problem_of(response, 413, "body-too-large")
    assert await owner.tasks() == [task]


async def test_a_body_of_just_the_limit_is_taken(owner: Api) -> None:
    response = await owner.call("POST", TASKS, data='{"title": "x"}'.ljust(65_536), headers=JSON)
    assert response.status == 201


async def test_refusals_come_in_one_order(client: Client, owner: Api) -> None:
    nothing = f"{TASKS}/nothing"
    large = b" " * 70_000
    await problem_of(await client.patch(nothing, data=large, headers=JSON), 401, "unauthorized")
    await problem_of(await owner.call("PATCH", nothing, data=large, headers=JSON), 413, "body-too-large")
    await problem_of(
        await owner.call("PATCH", nothing, data=b"{", headers={"Content-Type": "a/b"}), 415, "unsupported-media-type"
    )
    await problem_of(await owner.call("PATCH", nothing, data=b"{", headers=JSON), 400, "malformed-json")
    await problem_of(await owner.call("GET", f"{nothing}?x=1"), 400, "invalid-query")
    await problem_of(await owner.call("PATCH", nothing, json={"title": "x"}), 404, "task-not-found")


async def raw(client: Client, request: bytes) -> bytes:
    """The answer to bytes that no HTTP library would send."""
    assert client.port is not None
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(request)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), timeout=PATIENCE)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"Content-Length: 500\r\n\r\n{",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_broken_message_harms_nobody(owner: Api, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        "POST /api/tasks HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Authorization: Bearer {owner.token}",
    ]
    head = "".join(f"{line}\r\n" for line in lines)
    answer = await raw(owner.client, head.encode() + body)
    assert answer == b"" or re.match(rb"HTTP/1\.[01] 400 ", answer)
    assert not [record for record in caplog.records if record.exc_info], "strangers can't fill the log"
    assert await owner.tasks() == []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*CHANGED, "id"]) | st.text()


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(NAMES, JSON_VALUES, max_size=4), method=st.sampled_from(["POST", "PATCH", "PUT"]))
async def test_no_document_breaks_the_service(owner: Api, document: dict[str, Any], method: str) -> None:
    before = await owner.tasks()
    path = TASKS if method == "POST" or not before else path_of(before[0])
    body = json.dumps(document).encode()
    response = await owner.call(method, path, data=body, headers=JSON)
    assert response.status in (200, 201, 400, 405)
    if response.status >= 400:
        assert await owner.tasks() == before
