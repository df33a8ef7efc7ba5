"""Calls of the service by one user, and checks of the responses."""

from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from marshmallow import RAISE
from multidict import CIMultiDict

from todo_service.http.schemas import ProblemSchema, TaskSchema
from todo_service.server.graceful import Runner

Client = TestClient[Any, Any]

TASKS = "/api/tasks"
JSON = {"Content-Type": "application/json"}
FAILING = "/docs/static/failing"
UNKNOWN_ID = "6f1d0e5c-3b1c-4c39-9d7f-0b6d5a6a1c11"
"""An id that no task has, and a generation that no user has."""


class ServiceServer(TestServer):
    """A server in this process. It handles connections like the deployed server."""

    async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
        return Runner(self.app, **kwargs)


@dataclass(frozen=True)
class Api:
    """Calls with one user's token. `create`, `get` and `tasks` check the response against its schema."""

    client: Client
    user_id: str
    token: str

    async def call(self, method: str, path: str, **kwargs: Any) -> ClientResponse:
        headers = {"Authorization": f"Bearer {self.token}", **kwargs.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **kwargs)

    async def create(self, title: str = "Buy milk", **members: Any) -> dict[str, Any]:
        response = await self.call("POST", TASKS, json={"title": title, **members})
        assert response.status == 201, await response.text()
        return task_of(await response.json())

    async def get(self, task: dict[str, Any]) -> dict[str, Any] | None:
        """The current task, or None if the user has no task with this id."""
        response = await self.call("GET", path_of(task))
        assert response.status in (200, 404)
        return task_of(await response.json()) if response.status == 200 else None

    async def tasks(self, **query: str) -> list[dict[str, Any]]:
        response = await self.call("GET", TASKS, params=query)
        assert response.status == 200, await response.text()
        return [task_of(task) for task in await response.json()]


def path_of(task: dict[str, Any]) -> str:
    return f"{TASKS}/{task['id']}"


def task_of(document: Any) -> dict[str, Any]:
    """Returns the document. Fails unless it is a task with exactly the members of the schema."""
    TaskSchema(unknown=RAISE).load(document)
    assert isinstance(document, dict)
    return document


async def problem_of(response: ClientResponse, status: int, name: str) -> dict[str, Any]:
    """Returns the problem document of a response. Fails unless it has this status and this type."""
    assert response.status == status, await response.text()
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = await response.json()
    ProblemSchema(unknown=RAISE).load(document)
    assert document["type"] == f"/problems#{name}"
    assert document["status"] == status
    detail = document["detail"]
    assert detail.endswith(".")
    return document


async def call_with_header(api: Api, method: str, path: str, name: str, value: str, **kwargs: Any) -> ClientResponse:
    """Calls with a header. Sends each line of the value as a separate header."""
    lines = [("Authorization", f"Bearer {api.token}"), *((name, line) for line in value.split("\n"))]
    return await api.client.request(method, path, headers=CIMultiDict(lines), **kwargs)


def case_id(call: tuple[object, ...]) -> str:
    """The id of a test case with this call, like `PATCH /complete`. It leaves out empty parts."""
    return " ".join(str(part) for part in call if part not in ("", None))


async def tag_of(api: Api, path: str = TASKS) -> str:
    """The ETag of the resource at a path, without quotes."""
    return (await api.call("GET", path)).headers["ETag"].strip('"')
