"""Metrics: counts and durations of requests, refusals and database batches, of all workers together."""

import asyncio
import re
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp import AiohttpClient

from tests.support.api import TASKS, Api, Client, path_of, problem_of
from tests.support.processes import SECRET, TEST_TIMEOUT, served, wait_until, wait_until_blocking
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.settings import Settings

pytestmark = pytest.mark.database

ALICE = {"Authorization": f"Bearer {sign_token(SECRET, 'alice', days=1)}"}
CREATED = {"method": "POST", "route": TASKS, "status": "201"}


async def numbers_of(
    client: Client | ClientSession, name: str, **headers: str
) -> dict[tuple[tuple[str, str], ...], float]:
    """The value of each series of a metric, by its labels."""
    response = await client.get("/metrics", headers=headers)
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(await response.text())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sorted(sample.labels.items())): sample.value for sample in samples}


def series(**labels: str) -> tuple[tuple[str, str], ...]:
    """The key of a series in the result of `numbers_of`."""
    return tuple(sorted(labels.items()))


async def test_requests_are_counted_by_route_and_status(owner: Api, stranger: Api) -> None:
    name = "todo_service_request_duration_seconds_count"
    missed = series(method="GET", route="/api/tasks/{task_id}", status="404")
    unknown = series(method="unknown", route=TASKS, status="405")
    before = await numbers_of(owner.client, name)
    task = await owner.create()
    for _ in range(3):
        await stranger.call("GET", path_of(task))
        await owner.call("PROPFIND", TASKS)
    after = await numbers_of(owner.client, name)
    assert after[series(**CREATED)] - before.get(series(**CREATED), 0) == 1
    assert after[missed] - before.get(missed, 0) == 3
    assert after[unknown] - before.get(unknown, 0) == 3
    assert not [labels for labels in after if "PROPFIND" in str(labels)]


async def test_metrics_have_durations_batch_sizes_and_connections(owner: Api) -> None:
    await asyncio.gather(*(owner.create() for _ in range(50)))
    buckets = await numbers_of(owner.client, "todo_service_request_duration_seconds_bucket")
    count = (await numbers_of(owner.client, "todo_service_request_duration_seconds_count"))[series(**CREATED)]
    assert buckets[series(**CREATED, le="+Inf")] == count >= 50
    batches = await numbers_of(owner.client, "todo_service_database_batch_size_count")
    calls = await numbers_of(owner.client, "todo_service_database_batch_size_sum")
    assert 1 <= batches[()] < calls[()]
    connections = await numbers_of(owner.client, "todo_service_database_connections")
    assert connections[series(state="idle")] >= 1
    assert connections[series(state="busy")] == 0
    assert await numbers_of(owner.client, "todo_service_database_waiting_calls") == {(): 0}


async def test_refused_requests_are_counted_by_reason(aiohttp_client: AiohttpClient, settings: Settings) -> None:
    client: Client = await aiohttp_client(
        TestServer(create_app(replace(settings, database_url="postgres://127.0.0.1:1/none")))
    )
    name, labels = "todo_service_requests_refused_total", series(reason="unavailable")
    before = (await numbers_of(client, name)).get(labels, 0)
    await client.get("/health/ready")
    assert (await numbers_of(client, name))[labels] - before == 1


async def test_metrics_require_the_metrics_token_if_it_is_set(
    aiohttp_client: AiohttpClient, settings: Settings
) -> None:
    token = "sixteen-characte"
    client: Client = await aiohttp_client(TestServer(create_app(replace(settings, metrics_token=token))))
    twice = CIMultiDict([("Authorization", f"Bearer {token}")] * 2)
    for headers in (
        {},
        *({"Authorization": value} for value in ("Bearer x", "Bearer é", token, f"Basic {token}")),
        twice,
    ):
        response = await client.get("/metrics", headers=headers)
        await problem_of(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="metrics"'
    for scheme in ("Bearer", "bearer"):
        assert await numbers_of(client, "todo_service_database_waiting_calls", Authorization=f"{scheme} {token}")


@pytest.mark.slow
async def test_metrics_include_all_workers_even_those_that_have_ended(
    service_database_url: str, tmp_path: Path
) -> None:
    async def wait_for_count(session: ClientSession, expected: int) -> None:
        """Waits until this many requests are counted. Each worker adds its requests only once, after a moment."""
        async with asyncio.timeout(TEST_TIMEOUT):
            count = 0.0
            while count != expected:
                numbers = await numbers_of(session, "todo_service_request_duration_seconds_count")
                count = numbers[series(method="GET", route=TASKS, status="200")]
                assert count <= expected

    with served(tmp_path / "log", DATABASE_URL=service_database_url, WEB_CONCURRENCY="2") as (process, url):
        gunicorn = psutil.Process(process.pid)
        directory = Path(gunicorn.environ()["PROMETHEUS_MULTIPROC_DIR"])
        async with ClientSession(url) as session:
            for _ in range(40):
                await session.get(TASKS, headers={**ALICE, "Connection": "close"})
            await wait_for_count(session, 40)
            before = {child.pid for child in gunicorn.children()}
            process.send_signal(signal.SIGHUP)
            wait_until_blocking(
                lambda: len(pids := {child.pid for child in gunicorn.children()}) == 2 and not pids & before
            )
            await session.get(TASKS, headers=ALICE)
            await wait_for_count(session, 41)
            victim = gunicorn.children()[0]
            victim.kill()
            wait_until_blocking(lambda: len(children := gunicorn.children()) == 2 and victim not in children)
            await wait_for_count(session, 41)
            await wait_until(lambda: len(list(directory.glob("gauge_livesum_*"))) <= 2)
    assert not directory.exists()  # noqa: ASYNC240
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(re.match(r"time=\S+ level=\w+ ", line) for line in lines), "a line, perhaps of gunicorn, is not logfmt"
    assert len([line for line in lines if f" route={TASKS} " in line]) == 41
