"""Validation: a request with an invalid body or query gets a problem document, and changes nothing.

The invalid values in tests/support/members.py include NUL. Other invalid text, like lone surrogates, is in
test_text.py. Malformed `If-Match` headers are in test_invalid_conditions.py.
"""

import gzip
import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.support.api import JSON, TASKS, Api, path_of, problem_of
from tests.support.members import CREATED, IGNORED, MEMBERS, NAMES
from todo_service.http.schemas import NewTaskSchema

pytestmark = pytest.mark.database


INVALID_VALUES: dict[str, Sequence[Any]] = {
    **{member.name: member.invalid for member in MEMBERS},
    **{name: ["x"] for name in ("Title", "", "__proto__")},
}
INVALID_MEMBERS = [(name, value) for name, values in INVALID_VALUES.items() for value in values]

LIMITS = [
    *("0", "-1", "1001", "1e9", "1.0", "+1", "1_0", "٣", " 1", "", "x", "9" * 20_000, "%00", "0" * 5000 + "1"),
]
INVALID_QUERIES = [
    *(("limit", value) for value in LIMITS),
    *(("status", value) for value in ("", "done", "ALL", "all%00")),
    *(("sort", value) for value in ("", "id", "created_at", "title;", "title'")),
    *(("order", value) for value in ("", "up", "DESC")),
    *((name, "1") for name in ("page", "offset", "Limit", "user_id", "")),
]

# Documents that are expensive to parse are in test_strict_json.py. Documents that are not UTF-8 are in test_text.py.
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
    b'\xef\xbb\xbf{"title": "x"}',
    '{"title": "x"}'.encode("utf-16"),
    b'{"title": -' + b"9" * 5000 + b"}",
]

WRITES = [("POST", ""), ("PUT", "/{id}"), ("PATCH", "/{id}")]
WITH_A_BODY = [*WRITES, ("PATCH", "/{id}/complete")]


# The members of a body


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_an_invalid_member_is_named_and_nothing_is_stored(owner: Api, method: str, path: str) -> None:
    task = await owner.create()
    for name, value in INVALID_MEMBERS:
        if name in IGNORED and method != "POST":
            continue
        body = {**CREATED, name: value}
        response = await owner.call(method, TASKS + path.format(**task), json=body)
        document = await problem_of(response, 400, "invalid-body")
        [(member, messages)] = document["errors"].items()
        assert member == name
        assert document["detail"].startswith(f"{name} ")
        assert all(message.endswith(".") for message in messages)
    assert await owner.tasks() == [task]
    assert (await owner.create())["revision"] == task["revision"] + 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Is required."),
        ({"completed": None}, "Must not be null."),
        *(
            ({"completed": value}, "Must be true or false.")
            for value in INVALID_VALUES["completed"]
            if value is not None
        ),
    ],
    ids=str,
)
async def test_the_body_of_complete_task_needs_a_boolean(owner: Api, body: dict[str, Any], message: str) -> None:
    task = await owner.create()
    response = await owner.call("PATCH", f"{path_of(task)}/complete", json=body)
    document = await problem_of(response, 400, "invalid-body")
    assert document["errors"] == {"completed": [message]}
    assert await owner.get(task) == task


async def test_a_new_task_needs_a_title(owner: Api) -> None:
    document = await problem_of(await owner.call("POST", TASKS, json={}), 400, "invalid-body")
    assert document["detail"] == "title is required."
    assert document["errors"] == {"title": ["Is required."]}
    assert await owner.tasks() == []


async def test_a_problem_names_all_invalid_members(owner: Api) -> None:
    body = {"title": " ", "priority": "urgent", "color": "red"}
    document = await problem_of(await owner.call("POST", TASKS, json=body), 400, "invalid-body")
    assert document["detail"] == (
        "title must not be blank; priority must be one of low, medium, high; "
        f"color is not one of {', '.join(NewTaskSchema().fields)}."
    )


async def test_a_problem_names_at_most_20_invalid_members(owner: Api) -> None:
    body = {f"{n}{'x' * 20}": 1 for n in range(1500)}
    response = await owner.call("POST", TASKS, json=body)
    document = await problem_of(response, 400, "invalid-body")
    assert len(document["errors"]) == 20


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
ANY_NAME = st.sampled_from(NAMES) | st.text()


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(ANY_NAME, JSON_VALUES, max_size=4), method=st.sampled_from(["POST", "PATCH", "PUT"]))
async def test_any_json_object_is_stored_or_refused(owner: Api, document: dict[str, Any], method: str) -> None:
    before = await owner.tasks()
    path = TASKS if method == "POST" or not before else path_of(before[0])
    body = json.dumps(document).encode()
    response = await owner.call(method, path, data=body, headers=JSON)
    assert response.status in (200, 201, 400, 405)
    if response.status >= 400:
        assert await owner.tasks() == before


# JSON


@pytest.mark.parametrize(("method", "path"), WITH_A_BODY)
async def test_malformed_json_gets_400(owner: Api, method: str, path: str) -> None:
    task = await owner.create()
    for body in MALFORMED:
        if not body and path.endswith("/complete"):
            continue
        response = await owner.call(method, TASKS + path.format(**task), data=body, headers=JSON)
        document = await problem_of(response, 400, "malformed-json")
        assert document["detail"].startswith("The request body is not valid JSON: ")
    assert await owner.tasks() == [task]


@pytest.mark.parametrize("body", ["[]", "null", "1", '"x"', "true", '[{"title": "x"}]', "1e999"])
@pytest.mark.parametrize(("method", "path"), WITH_A_BODY)
async def test_json_other_than_an_object_gets_400(owner: Api, method: str, path: str, body: str) -> None:
    task = await owner.create()
    response = await owner.call(method, TASKS + path.format(**task), data=body, headers=JSON)
    await problem_of(response, 400, "invalid-body")
    assert await owner.tasks() == [task]


# Queries


@pytest.mark.parametrize(("name", "value"), INVALID_QUERIES)
async def test_an_invalid_query_parameter_is_named(owner: Api, name: str, value: str) -> None:
    response = await owner.call("GET", f"{TASKS}?{name}={value}")
    document = await problem_of(response, 400, "invalid-query")
    assert list(document["errors"]) == [name]
    assert document["detail"].startswith(f"{name} ")


async def test_a_repeated_query_parameter_gets_400(owner: Api) -> None:
    response = await owner.call("GET", f"{TASKS}?limit=1&limit=1")
    document = await problem_of(response, 400, "invalid-query")
    assert document["errors"] == {"limit": ["Must be given only once."]}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/{id}"), ("DELETE", "/{id}"), ("PATCH", "/{id}/complete"), ("POST", ""), ("PUT", "/{id}")],
)
async def test_an_endpoint_without_parameters_refuses_a_query(owner: Api, method: str, path: str) -> None:
    task = await owner.create()
    body = {"title": "y"} if method in ("POST", "PUT") else None
    response = await owner.call(method, f"{TASKS}{path.format(**task)}?limit=1", json=body)
    await problem_of(response, 400, "invalid-query")
    assert await owner.tasks() == [task]


# Media types, codings and sizes of bodies


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/json", "application/xml", "application/json; charset=utf-16", "json", "a/b/c;;"],
)
@pytest.mark.parametrize(("method", "path"), WITH_A_BODY)
async def test_a_body_of_another_media_type_gets_415(owner: Api, method: str, path: str, content_type: str) -> None:
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
    ids=["compressed", "not compressed", "10 MB of spaces"],
)
async def test_a_body_with_a_content_encoding_gets_415(owner: Api, coding: str, body: bytes) -> None:
    response = await owner.call("POST", TASKS, data=body, headers={**JSON, "Content-Encoding": coding})
    await problem_of(response, 415, "unsupported-media-type")
    assert await owner.tasks() == []


async def test_every_content_encoding_header_is_checked(owner: Api) -> None:
    headers = [*JSON.items(), ("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
    headers.append(("Authorization", f"Bearer {owner.token}"))
    response = await owner.client.post(TASKS, data=b'{"title": "x"}', headers=CIMultiDict(headers))
    await problem_of(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("size", [65_537, 3_000_000])
@pytest.mark.parametrize(("method", "path"), WITH_A_BODY)
async def test_a_body_above_64_kib_gets_413(owner: Api, method: str, path: str, size: int) -> None:
    task = await owner.create()
    body = BytesIO(b'{"title": "x"}'.ljust(size))
    response = await owner.call(method, TASKS + path.format(**task), data=body, headers=JSON)
    await problem_of(response, 413, "body-too-large")
    assert await owner.tasks() == [task]


async def test_a_body_of_exactly_64_kib_is_accepted(owner: Api) -> None:
    response = await owner.call("POST", TASKS, data='{"title": "x"}'.ljust(65_536), headers=JSON)
    assert response.status == 201
