"""Many who send one Idempotency-Key at once, and answers that are lost: there is one task."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestServer
from pytest_aiohttp import AiohttpClient

from tests.support.api import Api, Client, problem_of, tag_of
from tests.support.database import is_waiting
from tests.support.idempotency import KEY, OTHER, PAYLOAD, created, post, replayed
from tests.support.processes import PATIENCE
from tests.support.writers import hold_up
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.database import connecting
from todo_service.database.sending import Senders
from todo_service.server.runner import SERVER_OPTIONS
from todo_service.settings import Settings

pytestmark = pytest.mark.database

SENDS = 50

WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'todo-service' AND wait_event_type = 'Lock'"
)

KNOWN = pytest.mark.parametrize("known", [False, True], ids=["of a new user", "of a known user"])
POOLS = pytest.mark.parametrize(("connections", "batch_size"), [(1, 32), (1, 1), (4, 32), (4, 1), (20, 1)])

Start = Callable[..., Awaitable[Client]]
ApiOf = Callable[[Client], Api]
AtOnce = Callable[[list[tuple[str, dict[str, Any]]], bool, int, int], Awaitable[tuple[Api, list[ClientResponse]]]]


@pytest.fixture
def start(aiohttp_client: AiohttpClient, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts the service with other settings, and patience for locks that a test holds."""

    async def start_with(**changes: Any) -> Client:
        monkeypatch.setattr(connecting, "LOCK_TIMEOUT", "30s")
        server = TestServer(create_app(replace(settings, database_timeout=PATIENCE, **changes)))
        await server.start_server(**SERVER_OPTIONS)
        return await aiohttp_client(server)

    return start_with


@pytest.fixture
def api_of(settings: Settings) -> ApiOf:
    """Makes users of a service who have never been there before."""

    def make(client: Client) -> Api:
        user_id = f"user-{uuid4()}"
        return Api(client, user_id, sign_token(settings.jwt_secret, user_id, days=1))

    return make


@pytest.fixture
def at_once(start: Start, api_of: ApiOf, connection: asyncpg.Connection, observer: asyncpg.Connection) -> AtOnce:
    """Sends requests of one user together: all connections that may write wait before one of them goes on."""

    async def send(
        requests: list[tuple[str, dict[str, Any]]], known: bool, connections: int, batch_size: int
    ) -> tuple[Api, list[ClientResponse]]:
        api = api_of(await start(database_pool_size=connections, database_batch_size=batch_size))
        if known:
            await api.create()
        gate = await hold_up(connection, api.user_id)
        sending = asyncio.gather(*(post(api, payload, key) for key, payload in requests))
        async with asyncio.timeout(PATIENCE):
            while await observer.fetchval(WAITING) < max(connections - 1, 1):  # one is left to reads
                pass
        await gate.rollback()
        return api, await sending

    return send


@KNOWN
@POOLS
async def test_of_many_at_once_one_creates_and_all_get_the_task(
    at_once: AtOnce, connections: int, batch_size: int, known: bool
) -> None:
    api, answers = await at_once([(KEY, PAYLOAD)] * SENDS, known, connections, batch_size)

    [first] = [answer for answer in answers if answer.status == 201]
    task = await created(first)
    assert [await replayed(answer) for answer in answers if answer is not first] == [task] * (SENDS - 1)
    assert (len(await api.tasks()), await api.get(task)) == (1 + known, task)
    moved_once = (await tag_of(api)).endswith(f"-{task['revision']}")
    assert moved_once or not known, "who waits for a user to begin may take a revision"


@KNOWN
@POOLS
async def test_of_two_payloads_at_once_one_wins(
    at_once: AtOnce, connections: int, batch_size: int, known: bool
) -> None:
    requests = [(KEY, PAYLOAD), (KEY, OTHER)] * (SENDS // 2)
    random.shuffle(requests)

    api, answers = await at_once(requests, known, connections, batch_size)

    [first] = [answer for answer in answers if answer.status == 201]
    task = await created(first)
    for (_, payload), answer in zip(requests, answers, strict=True):
        if payload["title"] != task["title"]:
            await problem_of(answer, 422, "idempotency-key-reused")
        elif answer is not first:
            assert await replayed(answer) == task
    assert Counter(answer.status for answer in answers) == {201: 1, 200: SENDS // 2 - 1, 422: SENDS // 2}
    assert (len(await api.tasks()), await api.get(task)) == (1 + known, task)


@KNOWN
@POOLS
async def test_different_keys_at_once_are_different_tasks(
    at_once: AtOnce, connections: int, batch_size: int, known: bool
) -> None:
    api, answers = await at_once([(str(n), PAYLOAD) for n in range(SENDS)], known, connections, batch_size)

    tasks = [await created(answer) for answer in answers]
    revisions = sorted(task["revision"] for task in tasks)
    assert len(set(revisions)) == SENDS
    assert not known or revisions == list(range(revisions[0], revisions[0] + SENDS))
    assert len({task["id"] for task in tasks}) == SENDS == len(await api.tasks()) - known


@KNOWN
async def test_what_was_lost_before_it_was_stored_can_be_repeated(
    start: Start, api_of: ApiOf, connection: asyncpg.Connection, observer: asyncpg.Connection, known: bool
) -> None:
    api = api_of(await start(database_pool_size=1))
    before = [await api.create()] if known else []
    gate = await hold_up(connection, api.user_id)
    sending = asyncio.create_task(post(api))
    await observer.execute("SELECT pg_terminate_backend($1)", await is_waiting(observer))
    lost = await sending
    await gate.rollback()

    repeated = [await post(api), await post(api)]

    assert "Idempotency-Key" in (await problem_of(lost, 503, "outcome-unknown"))["detail"]
    task = await created(repeated[0])
    assert await replayed(repeated[1]) == task
    assert await api.tasks() == [task, *before]


async def test_what_was_stored_before_its_answer_was_lost_can_be_repeated(
    owner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Senders._fetch

    async def lose_the_answer(*args: Any) -> list[asyncpg.Record]:
        await fetch(*args)
        raise ConnectionResetError("test")

    with monkeypatch.context() as patch:
        patch.setattr(Senders, "_fetch", lose_the_answer)
        lost = await post(owner)

    repeated = await post(owner)

    assert "Idempotency-Key" in (await problem_of(lost, 503, "outcome-unknown"))["detail"]
    assert await owner.tasks() == [await replayed(repeated)]
