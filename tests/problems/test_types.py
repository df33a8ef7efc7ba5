"""The problem types: each response matches the table of types and the API's description."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import JSON, TASKS, Api, path_of
from tests.support.openapi_document import operations
from todo_service.problems import BODY_BYTES, TYPES

pytestmark = pytest.mark.database

NOWHERE = f"{TASKS}/{uuid4()}"


@dataclass
class Call:
    """A request that gets a problem. `{task}` stands for the path of an existing task."""

    method: str
    path: str
    operation_id: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


CALLS = {
    "malformed-json": Call("POST", TASKS, "create_task", JSON, b'{"title": }'),
    "invalid-body": Call("POST", TASKS, "create_task", JSON, b'{"title": " "}'),
    "invalid-query": Call("GET", f"{TASKS}?limit=0", "list_tasks"),
    "invalid-header": Call("DELETE", "{task}", "delete_task", {"If-Match": "7"}),
    "unauthorized": Call("GET", TASKS, "list_tasks", {"Authorization": ""}),
    "task-not-found": Call("GET", NOWHERE, "get_task"),
    "route-not-found": Call("GET", "/api/nothing"),
    "method-not-allowed": Call("POST", "{task}"),
    "task-deleted": Call("POST", TASKS, "create_task", {**JSON, "Idempotency-Key": "gone"}, b'{"title": "x"}'),
    "start-over": Call("GET", f"{TASKS}/changes?since={uuid4()}-7", "list_changes"),
    "precondition-failed": Call("DELETE", "{task}", "delete_task", {"If-Match": '"0"'}),
    "body-too-large": Call("POST", TASKS, "create_task", JSON, b" " * (BODY_BYTES + 1)),
    "unsupported-media-type": Call("PATCH", "{task}", "update_task", {"Content-Type": "text/plain"}, b"x"),
    "idempotency-key-reused": Call("POST", TASKS, "create_task", {**JSON, "Idempotency-Key": "k"}, b'{"title": "y"}'),
}

ELSEWHERE = {
    *("malformed-request", "method-not-implemented", "request-timeout", "internal-error", "unavailable"),
    "outcome-unknown",
}
"""Types that need a broken client, service or database: other modules test them."""


def test_every_problem_type_is_tested() -> None:
    assert CALLS.keys() | ELSEWHERE == TYPES.keys()


@pytest.mark.parametrize("name", CALLS)
async def test_each_problem_matches_its_type_and_the_openapi_description(
    make_user: Callable[[], Api], name: str
) -> None:
    api, call, kind = make_user(), CALLS[name], TYPES[name]
    task = await api.create()
    for key, title in (("gone", "x"), ("k", "x")):
        sent = await api.call("POST", TASKS, json={"title": title}, headers={"Idempotency-Key": key})
        if key == "gone":
            await api.call("DELETE", path_of(await sent.json()))
    response = await api.call(call.method, call.path.format(task=path_of(task)), headers=call.headers, data=call.body)
    document: dict[str, Any] = await response.json()
    example = kind.example_document()
    if name == "unauthorized":  # its detail depends on the mistake
        example["detail"] = document["detail"]
    assert document == example
    assert response.status == kind.status
    assert all(header in response.headers for header in kind.headers)
    if call.operation_id:
        described = next(op for _, _, op in operations() if op["operationId"] == call.operation_id)["responses"]
        assert name in described[str(kind.status)]["content"]["application/problem+json"]["examples"]


def test_the_name_of_a_type_is_its_title_with_hyphens() -> None:
    for name, kind in TYPES.items():
        assert name == kind.title.lower().replace(" ", "-")
