"""Other users, and clients without a token, can neither read nor change a user's tasks.

The stranger of these tests is another user who knows all ids, entity tags, keys and cursors of the owner.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from aiohttp import ClientResponse

from tests.support.api import TASKS, Api, Client, path_of, problem_of
from tests.support.openapi_document import operations

pytestmark = pytest.mark.database

SECRET_TASK = {"description": "secret-description", "priority": "high", "due_date": "2026-01-01T00:00:00Z"}

BODIES: dict[str, list[Any]] = {
    "create_task": [{"title": "mine", "description": "secret-description"}, {"title": "other"}],
    "update_task": [{"title": "changed"}, {"completed": True}, {}],
    "complete_task": [None, {"completed": True}],
}
"""The bodies that are sent to each operation. PUT has the same bodies as PATCH."""

VARYING_HEADERS = ("Date", "X-Request-ID")
"""Headers that differ between two responses to the same request."""


class Leaked:
    """Everything about the owner's tasks that a stranger may have found out."""

    def __init__(self, owner: Api) -> None:
        self.owner = owner

    async def collect(self) -> "Leaked":
        """Creates tasks of the owner, deletes one of them, and stores their ids, entity tags and cursors."""
        owner = self.owner
        self.key = f"key-{uuid4()}"
        body = {"title": "mine", "description": "secret-description"}
        once = await (await owner.call("POST", TASKS, json=body, headers={"Idempotency-Key": self.key})).json()
        tasks = [await owner.create(f"secret-title-{n}", **SECRET_TASK) for n in range(3)]
        await owner.call("DELETE", path_of(tasks[2]))
        page = await owner.call("GET", TASKS, params={"limit": "1"})
        self.since = (await (await owner.call("GET", f"{TASKS}/changes")).json())["since"]
        self.ids = [once["id"], *(task["id"] for task in tasks)]
        self.cursor = parse_qs(urlsplit(str(page.links["next"]["url"])).query)["cursor"][0]
        self.tags = [page.headers["ETag"], *(f'"{task["revision"]}"' for task in (once, *tasks))]
        self.secrets = [*self.ids, owner.user_id, "secret-title", self.since.rpartition("-")[0]]
        self.before = await self.owners_view()
        return self

    async def owners_view(self) -> list[str]:
        """All data that the owner gets, with its entity tags."""
        responses = [await self.owner.call("GET", path) for path in (TASKS, f"{TASKS}/changes", "/api/export")]
        return [await response.text() + response.headers.get("ETag", "") for response in responses]

    def headers(self) -> Iterator[dict[str, str]]:
        yield {}
        for name in ("If-Match", "If-None-Match"):
            yield {name: ", ".join(self.tags)}
            yield {name: "*"}
        yield {"Idempotency-Key": self.key}

    def queries(self) -> Iterator[dict[str, str]]:
        yield {}
        yield {"cursor": self.cursor}
        yield {"cursor": self.cursor, "limit": "1000"}
        yield {"since": self.since}
        yield {"q": "secret"}
        yield {"priority": "high", "due_before": "2027-01-01T00:00:00Z", "status": "pending"}
        yield {"user_id": self.owner.user_id}

    def requests(self, *queries: dict[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Requests for each operation of the API, with each id, header, query and body. `queries` adds more queries."""
        for path, method, operation in operations():
            paths = [path.format(task_id=task_id) for task_id in self.ids] if "{" in path else [path]
            bodies = BODIES.get(operation["operationId"].removesuffix("_by_put"), [None])
            for each, headers, query, body in product(paths, self.headers(), (*self.queries(), *queries), bodies):
                sent = {} if body is None else {"json": body}
                yield method.upper(), each, {"headers": headers, "params": query, **sent}


@pytest.fixture
async def leaked(owner: Api) -> Leaked:
    return await Leaked(owner).collect()


async def text_of(response: ClientResponse) -> str:
    """The whole response as one text."""
    return f"{response.status} {await response.text()} {list(response.headers.items())}"


def test_every_operation_with_a_listed_body_exists() -> None:
    assert BODIES.keys() <= {operation["operationId"] for _, _, operation in operations()}


async def test_a_stranger_sees_and_changes_nothing_of_the_owner(stranger: Api, leaked: Leaked) -> None:
    await stranger.create()
    generation = (await (await stranger.call("GET", f"{TASKS}/changes")).json())["since"].rpartition("-")[0]
    seen = set()
    for method, path, arguments in leaked.requests({"since": f"{generation}-0"}):
        response = await stranger.call(method, path, **arguments)
        text = await text_of(response)
        assert not [secret for secret in leaked.secrets if secret in text], (method, path, arguments)
        assert response.status != 304 or arguments["headers"] == {"If-None-Match": "*"}
        if any(task_id in path for task_id in leaked.ids):
            assert response.status in (400, 404), (method, path, arguments)
        seen.add((method, response.status))
    assert await leaked.owners_view() == leaked.before
    assert {("GET", 404), ("PATCH", 404), ("PUT", 404), ("DELETE", 404), ("POST", 201), ("GET", 410)} <= seen


async def test_another_users_task_gets_404_like_an_unknown_id(stranger: Api, leaked: Leaked) -> None:
    unknown = str(uuid4())
    for method, path, arguments in leaked.requests():
        theirs = next((task_id for task_id in leaked.ids if task_id in path), None)
        if theirs is None or arguments["params"]:
            continue
        compared = []
        for task_id in (theirs, unknown):
            response = await stranger.call(method, path.replace(theirs, task_id), **arguments)
            headers = {name: value for name, value in response.headers.items() if name not in VARYING_HEADERS}
            compared.append((response.status, headers, await response.read()))
            if not arguments["headers"]:
                await problem_of(response, 404, "task-not-found")
        assert compared[0] == compared[1]
    assert await leaked.owners_view() == leaked.before


async def test_a_request_without_a_token_sees_and_changes_nothing(client: Client, leaked: Leaked) -> None:
    for method, path, arguments in leaked.requests():
        response = await client.request(method, path, **arguments)
        assert not [secret for secret in leaked.secrets if secret in await text_of(response)]
        if path.startswith("/api/"):
            await problem_of(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert await leaked.owners_view() == leaked.before
