"""A simulation of one user's clients: some write tasks at random, others keep a copy with GET /api/tasks/changes."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from operator import itemgetter
from typing import Any
from uuid import uuid4

import asyncpg

from tests.support.api import TASKS, Api, Client, path_of, problem_of
from tests.support.database import blocked_sessions
from tests.support.processes import TEST_TIMEOUT
from tests.support.writers import BLOCK_WRITES
from todo_service.auth.tokens import sign_token
from todo_service.settings import Settings

CHANGES = f"{TASKS}/changes"
ME = "/api/me"

REPLICAS = 2

STATUSES = {
    "create": {201},
    "create idempotent": {200, 201, 410, 422},
    "update": {200, 404},
    "complete": {200, 404},
    "update if match": {200, 404, 412},
    "delete": {204, 404},
    "delete account": {204},
}
"""The kinds of writes, and the statuses that each may get while other clients write."""

Write = tuple[str, int]
"""The kind of a write, and a number from which its task and its values are derived."""

DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Round:
    """The writes of each writer; all writers of a round run at the same time."""

    writers: Sequence[Sequence[Write]]
    deletes_account_first: bool = False
    catches_up: bool = True
    """Whether the replicas catch up when the round is over."""


@dataclass
class Replica:
    """A client's copy of the tasks, built from the changes alone."""

    api: Api
    events: Counter[str]
    since: str | None = None
    more: bool = False
    deletions: int = 0
    """How many account deletions were acknowledged before the last request."""
    tasks: dict[str, str] = field(default_factory=dict)
    """The text of each task, by its id."""

    async def fetch(self, limit: int) -> None:
        """Gets changes once, checks the response and applies it."""
        deletions = self.events["delete account: 204"]
        query = {"limit": str(limit)} if self.since is None else {"limit": str(limit), "since": self.since}
        response = await self.api.call("GET", CHANGES, params=query)
        if response.status == 410 and self.since is not None:
            await problem_of(response, 410, "start-over")
            assert self.events["account deletions sent"] > self.deletions, "410 without a reason"
            self.tasks, self.since, self.more = {}, None, True
            self.events["start over"] += 1
            return
        text = await response.text()
        assert response.status == 200, text
        document = json.loads(text)
        tasks, deleted = texts_of(text, text.index('"tasks":') + len('"tasks":')), set(document["deleted"])
        assert [json.loads(task) for task in tasks.values()] == document["tasks"]
        assert document["tasks"] == sorted(document["tasks"], key=itemgetter("revision"))
        assert len(deleted) == len(document["deleted"])
        assert not deleted & tasks.keys()
        assert not deleted or self.since is not None, "the first response contains deletions"
        size = len(tasks) + len(deleted)
        assert size == limit or (size < limit and not document["more"])
        assert size or self.since is None or not self.more, "an empty response after more=true"
        assert document["since"] != self.since or not document["more"], "since did not advance"
        self.events["more"] += document["more"]
        self.events["deleted"] += len(deleted & self.tasks.keys())
        self.events["deleted before it was fetched"] += len(deleted - self.tasks.keys())
        self.tasks = {key: task for key, task in (self.tasks | tasks).items() if key not in deleted}
        self.since, self.more, self.deletions = document["since"], document["more"], deletions

    async def compare(self) -> bool:
        """Compares the copy with the list if the copy is up to date. Returns whether it compared them."""
        response = await self.api.call("GET", TASKS)
        tag = response.headers["ETag"].strip('"').removesuffix("-gzip")  # large lists are compressed
        if self.more or tag != self.since:
            return False
        assert self.tasks == texts_of(await response.text(), 0)
        self.events["compared"] += 1
        self.events["compared compressed"] += tag != response.headers["ETag"].strip('"')
        return True

    async def follow(self, limits: Sequence[int], writing: Sequence[asyncio.Task[None]]) -> None:
        """Fetches until all writers are done."""
        for limit in cycle(limits):
            if all(writer.done() for writer in writing):
                return
            await self.fetch(limit)
            self.events["compared while others write"] += await self.compare()

    async def catch_up(self, limits: Sequence[int]) -> None:
        """Fetches all changes while no client writes. Checks that the copy then equals the list."""
        for limit in cycle(limits):
            await self.fetch(limit)
            if not self.more:
                break
        assert await self.compare()


def texts_of(document: str, begin: int) -> dict[str, str]:
    """The text of each task in the array that begins at this position, by its id."""
    texts: dict[str, str] = {}
    begin += 1
    while document[begin] != "]":
        task, end = DECODER.raw_decode(document, begin)
        assert task["id"] not in texts
        texts[task["id"]] = document[begin:end]
        begin = end + (document[end] == ",")
    return texts


async def write(api: Api, known: list[dict[str, Any]], events: Counter[str], kind: str, number: int) -> None:
    """Sends one write and checks its status. A created task is appended to `known`, the tasks of all writers."""
    task = known[number % len(known)] if known else {"id": str(uuid4()), "revision": 1}
    match kind:
        case "create":
            response = await api.call("POST", TASKS, json={"title": f"Task {number}"})
        case "create idempotent":
            headers = {"Idempotency-Key": f"key-{number % 3}"}
            response = await api.call("POST", TASKS, json={"title": f"Once {number % 6}"}, headers=headers)
        case "update":
            response = await api.call("PATCH", path_of(task), json={"title": f"Changed {number % 3}"})
        case "complete":
            response = await api.call("PATCH", f"{path_of(task)}/complete")
        case "update if match":
            headers = {"If-Match": f'"{task["revision"]}"'}
            response = await api.call("PATCH", path_of(task), json={"priority": "high"}, headers=headers)
        case "delete":
            response = await api.call("DELETE", path_of(task))
        case _:
            events["account deletions sent"] += 1
            response = await api.call("DELETE", ME)
    assert response.status in STATUSES[kind], await response.text()
    events[f"{kind}: {response.status}"] += 1
    if response.status == 201:
        known.append(await response.json())


async def write_all(api: Api, known: list[dict[str, Any]], events: Counter[str], writes: Sequence[Write]) -> None:
    for kind, number in writes:
        await write(api, known, events, kind, number)


async def catch_up(replicas: Sequence[Replica], new: Replica, limits: Sequence[int]) -> None:
    """Brings all replicas, and a new empty one, up to date."""
    await asyncio.gather(*(replica.catch_up(limits) for replica in (*replicas, new)))


@dataclass
class Simulation:
    """Two workers of the service, and two connections that bypass them."""

    blocker: asyncpg.Connection
    observer: asyncpg.Connection
    settings: Settings
    workers: list[Client] = field(default_factory=list)
    writes: int = 0
    """The number of writes that have reached the Database of a worker."""
    batches: list[int] = field(default_factory=list)
    """The number of writes in each batch that was sent to PostgreSQL."""

    @asynccontextmanager
    async def writes_blocked(self, user_id: str, count: int) -> AsyncIterator[None]:
        """Blocks this user's writes until `count` writes have been sent and a session of each worker waits."""
        before = self.writes
        transaction = self.blocker.transaction()
        await transaction.start()
        try:
            await self.blocker.execute(BLOCK_WRITES, user_id)
            yield
            async with asyncio.timeout(TEST_TIMEOUT):
                while len(await blocked_sessions(self.observer)) < len(self.workers) or self.writes < before + count:
                    pass
        finally:
            await transaction.rollback()

    async def run(self, rounds: Sequence[Round], limits: Sequence[int]) -> Counter[str]:
        """Writes as a new user in rounds while replicas synchronise. Returns how often each event occurred."""
        user_id = f"user-{uuid4()}"
        token = sign_token(self.settings.jwt_secret, user_id, days=1)
        apis = [Api(worker, user_id, token) for worker in self.workers]
        events, known = Counter[str](), list[dict[str, Any]]()
        replicas = [Replica(apis[n % len(apis)], events) for n in range(REPLICAS)]
        for each in rounds:
            if each.deletes_account_first:
                await write(apis[0], known, events, "delete account", 0)
                if each.catches_up:
                    await catch_up(replicas, Replica(apis[0], events), limits)
            # Each worker creates a task first: only creates are blocked while the user isn't in the database.
            writers = [[("create", 0)] for _ in apis] + [*each.writers]
            async with asyncio.TaskGroup() as group, self.writes_blocked(user_id, len(writers)):
                writing = [
                    group.create_task(write_all(apis[n % len(apis)], known, events, writes))
                    for n, writes in enumerate(writers)
                ]
                for n, replica in enumerate(replicas):
                    group.create_task(replica.follow([*limits[n:], *limits[:n]], writing))
            if each.catches_up:
                await catch_up(replicas, Replica(apis[0], events), limits)
        await catch_up(replicas, Replica(apis[0], events), limits)
        return events
