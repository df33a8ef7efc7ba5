"""A constant mixed load: 64 clients of 16 users record every acknowledged write."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    ContentTypeError,
    TCPConnector,
)

from tests.faults.record import KnownTask, Record
from tests.support.api import TASKS
from tests.support.processes import SECRET
from todo_service.auth.tokens import sign_token

CLIENTS = 64
USERS = 16
PAUSE = 0.1  # seconds before a client repeats a request
HANG_SECONDS = 30.0
LIVE_TASKS = 20  # a client with this number of live tasks creates tasks only with an idempotency key

WEIGHTS = {"create_once": 25, "create": 10, "change": 25, "complete": 8, "delete": 7, "get": 15, "list": 10}

IDLE_SECONDS = 1.0
"""The time that a stopping worker waits for the next request on an idle connection (docs/faults.md)."""

NOT_CONNECTED, BROKEN = "connection refused", "connection broken"
BROKEN_AFTER_IDLE = "connection broken while idle"
"""The outcome if the connection broke after it had been idle for longer than IDLE_SECONDS."""

# The effect of a write.
APPLIED, REFUSED, UNKNOWN = "applied", "refused", "unknown"


@dataclass(frozen=True)
class Answer:
    """The response to one request. Its status is 0 if there was no response."""

    status: int
    problem: str
    body: Any
    effect: str
    """Whether a write was applied: APPLIED, REFUSED or UNKNOWN."""


@dataclass
class Load:
    """The clients of one service. `running` yields their record while they work."""

    url: str
    interval: float
    """Seconds between the requests of a client."""
    record: Record = field(default_factory=Record)
    stopping: bool = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Record]:
        """Runs all clients. At the end, each client finishes its current write, with retries."""
        users = [f"user-{uuid4()}" for _ in range(USERS)]
        clients = [Client(self, users[number % USERS], number) for number in range(CLIENTS)]
        await asyncio.gather(*(client.begin() for client in clients[:USERS]))
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.work())
            group.create_task(self._control())
            try:
                yield self.record
            finally:
                self.stopping = True

    async def _control(self) -> None:
        """Sends requests to /health, one after the other. Their durations show how busy the machine is."""
        connector = TCPConnector(force_close=True)
        async with ClientSession(self.url, timeout=ClientTimeout(total=HANG_SECONDS), connector=connector) as session:
            while not self.stopping:
                began = time.monotonic()
                with suppress(ClientError, OSError):  # the service is unreachable; its clients record that
                    async with session.get("/health"):
                        pass
                self.record.slowest_health_request = max(self.record.slowest_health_request, time.monotonic() - began)
                await asyncio.sleep(PAUSE)


class Client:
    """One client. Every second client of a user keeps its connection alive; the others connect for each request."""

    def __init__(self, load: Load, user: str, number: int) -> None:
        self._load = load
        self._record = load.record
        self._user = user
        self._number = number
        self._count = 0
        self._random = random.Random(number)
        self._tasks: list[KnownTask] = []
        self._next = time.monotonic() + self._random.random() * load.interval
        self._began = time.monotonic()
        connector = TCPConnector(force_close=number // USERS % 2 == 1, limit=1)
        headers = {"Authorization": f"Bearer {sign_token(SECRET, user, days=1)}"}
        timeout = ClientTimeout(total=HANG_SECONDS)
        self._session = ClientSession(load.url, headers=headers, timeout=timeout, connector=connector)
        self._session._retry_connection = False  # a retry would hide failures of GET and DELETE

    async def begin(self) -> None:
        """Creates the user's first task, with an idempotency key. Each later write takes exactly the next revision."""
        await self._create_once()

    async def work(self) -> None:
        """Sends one request after the other until the load stops."""
        kinds, weights = zip(*WEIGHTS.items(), strict=True)
        async with self._session:
            while not self._load.stopping:
                kind = self._random.choices(kinds, weights)[0]
                live = [task for task in self._tasks if not task.deleted]
                if kind == "list":
                    await self._list()
                elif kind == "create" and len(live) < LIVE_TASKS:
                    await self._create()
                elif kind == "create_once" or not live:
                    await self._create_once()
                else:
                    work = {"change": self._change, "complete": self._complete, "delete": self._delete}
                    await work.get(kind, self._get)(self._random.choice(live))

    async def _create_once(self) -> None:
        title, key = self._new_name(), {"Idempotency-Key": str(uuid4())}
        while True:
            answer = await self._send("POST", TASKS, {"title": title}, key, expected={200, 201})
            if answer.effect == APPLIED:
                self._created(title, answer)
                return
            await asyncio.sleep(PAUSE)

    async def _create(self) -> None:
        title = self._new_name()
        answer = await self._send("POST", TASKS, {"title": title}, expected={201})
        match answer.effect:
            case "applied":
                self._created(title, answer)
            case "refused":
                self._record.refused_titles.add(title)
            case _:
                self._record.doubtful_titles.add(title)
                self._record.doubtful[self._user] += 1

    async def _change(self, task: KnownTask) -> None:
        """Changes the text. Each attempt writes a new text, which shows whether a refused attempt was applied."""
        while not task.deleted:
            text = self._new_name()
            answer = await self._write(task, "PATCH", "", {"description": text}, text, task.completed)
            if answer.effect == APPLIED:
                return
            if answer.effect == UNKNOWN:
                task.possible_texts.add(text)
            await self._after(task, answer)

    async def _complete(self, task: KnownTask) -> None:
        """Toggles `completed`. A toggle isn't safe to repeat: the client repeats it only if it was refused."""
        while not task.deleted:
            answer = await self._write(task, "PATCH", "/complete", None, task.text, not task.completed)
            if answer.effect == APPLIED:
                return
            if answer.effect == UNKNOWN:
                task.maybe_toggled = True
                return
            await self._after(task, answer)

    async def _delete(self, task: KnownTask) -> None:
        while not task.deleted:
            answer = await self._write(task, "DELETE", "", None, None, False)
            if answer.effect == APPLIED:
                task.deleted = True
                return
            if answer.effect == UNKNOWN:
                task.maybe_deleted = True
            await self._after(task, answer)

    async def _write(
        self, task: KnownTask, method: str, path: str, body: object, text: str | None, completed: bool
    ) -> Answer:
        """Changes a task to these values. Half of these requests have `If-Match`."""
        headers = {"If-Match": f'"{task.revision}"'} if self._random.random() < 0.5 else {}
        allowed = {404} if task.maybe_deleted else set()
        if headers and task.in_doubt:
            allowed.add(412)
        answer = await self._send(method, f"{TASKS}/{task.id}{path}", body, headers, expected={200, 204} | allowed)
        if answer.effect == UNKNOWN:
            self._record.doubtful[self._user] += 1
        elif answer.effect == APPLIED:
            self._record.acknowledged[self._user] += 1
            if answer.body:
                self._check(answer.body["revision"] > task.revision, f"{task.id} got too low a revision: {answer.body}")
                self._learn(task, answer.body, text, completed)
        return answer

    async def _after(self, task: KnownTask, answer: Answer) -> None:
        """Prepares a retry of a change that was not acknowledged: gets the task after 412, otherwise waits."""
        if answer.status == 404:
            task.deleted = True
        elif answer.status == 412:
            await self._get(task)
        else:
            await asyncio.sleep(PAUSE)

    async def _get(self, task: KnownTask) -> None:
        allowed = {404} if task.maybe_deleted else set()
        answer = await self._send("GET", f"{TASKS}/{task.id}", None, expected={200} | allowed)
        if answer.status == 404:
            task.deleted = True
        if answer.status != 200:
            return
        body = answer.body
        self._check(body["revision"] >= task.revision, f"{task.id} lost revision {task.revision}: {body}")
        if body["revision"] > task.revision:
            self._check(task.in_doubt, f"{task.id} has a change that no client made: {body}")
        else:
            same = (body["description"], body["completed"]) == (task.text, task.completed)
            self._check(same, f"{task.id} differs from its acknowledged content: {body}")
        self._learn(task, body, task.text, task.completed)

    async def _list(self) -> None:
        await self._send("GET", f"{TASKS}?limit=20", None, expected={200})

    def _learn(self, task: KnownTask, body: Any, text: str | None, completed: bool) -> None:
        """Records the acknowledged state.

        Checks that the state is expected, or is the result of a write with an unknown outcome.
        """
        self._check(body["description"] in {text, *task.possible_texts}, f"{task.id} should be {text!r}: {body}")
        self._check(task.maybe_toggled or body["completed"] is completed, f"{task.id} should be {completed}: {body}")
        task.revision, task.text, task.completed = body["revision"], body["description"], body["completed"]

    def _created(self, title: str, answer: Answer) -> None:
        body = answer.body
        self._check(body["title"] == title, f"{title} was acknowledged as {body}")
        task = KnownTask(self._user, body["id"], title, body["revision"])
        self._record.acknowledged[self._user] += 1
        self._record.tasks.append(task)
        self._tasks.append(task)

    async def _send(
        self,
        method: str,
        path: str,
        body: object,
        headers: dict[str, str] | None = None,
        *,
        expected: set[int],
    ) -> Answer:
        """Sends one request when it is due. Checks that its response is `expected`, or one that a fault may cause."""
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))
        previous, self._began = self._began, time.monotonic()
        self._next = self._began + self._load.interval
        answer = await self._ask(method, path, body, headers or {})
        served = answer.status in expected
        outcome = f"{answer.status} {answer.problem}".strip() if answer.status else answer.problem
        ended = time.monotonic()
        if answer.problem == BROKEN and ended - previous > IDLE_SECONDS:
            outcome = BROKEN_AFTER_IDLE
        self._record.answered(self._number, outcome, ended - self._began, served=served)
        known = served or answer.problem in ("unavailable", NOT_CONNECTED, BROKEN)
        self._check(
            known or (answer.problem == "outcome-unknown" and method != "GET"),
            f"{method} {path}: {outcome} {answer.body}",
        )
        return answer

    async def _ask(self, method: str, path: str, body: object, headers: dict[str, str]) -> Answer:
        try:
            async with self._session.request(method, path, json=body, headers=headers) as response:
                document: Any = await response.json() if response.status != 204 else None
                if response.status < 300:
                    return Answer(response.status, "", document, APPLIED)
                problem = document["type"].partition("#")[2]
                if problem == "unavailable":
                    self._check("Retry-After" in response.headers, "unavailable, but no Retry-After")
                effect = UNKNOWN if problem == "outcome-unknown" else REFUSED
                return Answer(response.status, problem, document["detail"], effect)
        except TimeoutError:
            return Answer(0, "no response", None, UNKNOWN)
        except ClientConnectorError:
            return Answer(0, NOT_CONNECTED, None, REFUSED)
        except ContentTypeError as error:
            return Answer(error.status, "no problem document", error.message, UNKNOWN)
        except (ClientError, OSError) as error:
            return Answer(0, BROKEN, repr(error), UNKNOWN)

    def _new_name(self) -> str:
        self._count += 1
        return f"{self._user} {self._number} {self._count}"

    def _check(self, condition: bool, violation: str) -> None:
        if not condition:
            self._record.violated(violation)
