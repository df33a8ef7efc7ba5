"""A stranger who knows every id, tag, key and cursor of somebody: nothing is told, and nothing changes."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from aiohttp import ClientResponse

from tests.support.api import TASKS, Api, path_of
from tests.support.described import operations

pytestmark = pytest.mark.database

BODIES: dict[str, list[Any]] = {
    "create_task": [{"title": "mine", "description": "secret-description"}, {"title": "other"}],
    "update_task": [{"title": "changed"}, {"completed": True}, {}],
    "complete_task": [None, {"completed": True}],
}
"""By operation; PUT has those of PATCH."""


class Known:
    """All that a stranger may have found out about somebody, and what that somebody sees."""

    def __init__(self, owner: Api) -> None:
        self.owner = owner

    async def find(self) -> "Known":
        owner = self.owner
        key = f"key-{uuid4()}"
        body = {"title": "mine", "description": "secret-description"}
        once = await (await owner.call("POST", TASKS, json=body, headers={"Idempotency-Key": key})).json()
        tasks = [await owner.create(f"secret-title-{n}", description="secret-description") for n in range(3)]
        await owner.call("DELETE", path_of(tasks[2]))
        page = await owner.call("GET", TASKS, params={"limit": "1"})
        self.since = (await (await owner.call("GET", f"{TASKS}/changes")).json())["since"]
        self.ids = [once["id"], *(task["id"] for task in tasks)]
        self.key = key
        self.cursor = parse_qs(urlsplit(str(page.links["next"]["url"])).query)["cursor"][0]
        self.tags = [page.headers["ETag"], *(f'"{task["revision"]}"' for task in (once, *tasks))]
        self.secrets = [*self.ids, owner.user_id, "secret-title", self.since.rpartition("-")[0]]
        self.seen = await self.look()
        return self

    async def look(self) -> list[str]:
        """Everything there is of the owner, and its tags."""
        answers = [await self.owner.call("GET", path) for path in (TASKS, f"{TASKS}/changes", "/api/export")]
        return [await answer.text() + answer.headers.get("ETag", "") for answer in answers]

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
        yield {"user_id": self.owner.user_id}


def requests(known: Known) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation of the description with each id, and each header and query that means something somewhere."""
    for path, method, operation in operations():
        paths = [path.format(task_id=task_id) for task_id in known.ids] if "{" in path else [path]
        bodies = BODIES.get(operation["operationId"].removesuffix("_by_put"), [None])
        for each, headers, query, body in product(paths, known.headers(), known.queries(), bodies):
            sent = {} if body is None else {"json": body}
            yield method.upper(), each, {"headers": headers, "params": query, **sent}


async def told(response: ClientResponse) -> str:
    return f"{response.status} {await response.text()} {list(response.headers.items())}"


def test_every_operation_is_tried() -> None:
    operation_ids = {operation["operationId"] for _, _, operation in operations()}
    assert set(BODIES) <= operation_ids
    assert any("{task_id}" in path for path, _, _ in operations())


async def test_a_stranger_learns_nothing_and_changes_nothing(user: Callable[[], Api], owner: Api) -> None:
    known = await Known(owner).find()
    stranger = user()
    tried = set()
    for method, path, arguments in requests(known):
        response = await stranger.call(method, path, **arguments)
        answer = await told(response)
        assert not [secret for secret in known.secrets if secret in answer], (method, path, arguments)
        assert response.status != 304 or arguments["headers"] == {"If-None-Match": "*"}
        if any(task_id in path for task_id in known.ids):
            assert response.status in (400, 404), (method, path, arguments)
        tried.add((method, response.status))
    assert await known.look() == known.seen
    assert {("GET", 404), ("PATCH", 404), ("PUT", 404), ("DELETE", 404), ("POST", 201), ("GET", 410)} <= tried


async def test_anothers_task_is_answered_like_none(user: Callable[[], Api], owner: Api) -> None:
    known = await Known(owner).find()
    stranger = user()
    nothing = str(uuid4())
    for method, path, arguments in requests(known):
        theirs = next((task_id for task_id in known.ids if task_id in path), None)
        if theirs is None or arguments["params"]:
            continue
        answers = []
        for task_id in (theirs, nothing):
            response = await stranger.call(method, path.replace(theirs, task_id), **arguments)
            own = ("Date", "X-Request-ID")  # which each answer has
            headers = {name: value for name, value in response.headers.items() if name not in own}
            answers.append((response.status, headers, await response.read()))
        assert answers[0] == answers[1]
    assert await known.look() == known.seen


async def test_somebody_without_a_token_learns_and_changes_nothing(client: Any, owner: Api) -> None:
    known = await Known(owner).find()
    for method, path, arguments in requests(known):
        response = await client.request(method, path, **arguments)
        assert response.status == (401 if path.startswith("/api/") else response.status)
        assert not [secret for secret in known.secrets if secret in await told(response)]
    assert await known.look() == known.seen
