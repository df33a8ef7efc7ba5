"""What operators see of the service: its log, its metrics, and the ids of requests."""

import asyncio
import json
import logging
import re
import shlex
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

from tests.support.api import FAILING, JSON, TASKS, Api, Client, path_of, problem_of
from tests.support.processes import PATIENCE, SECRET, served, until, wait_until
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.observability import logs, middleware
from todo_service.observability.logfmt import Formatter
from todo_service.settings import Settings

pytestmark = pytest.mark.database

ALICE = {"Authorization": f"Bearer {sign_token(SECRET, 'alice', days=1)}"}
CREATED = {"method": "POST", "route": TASKS, "status": "201"}


def fields_of(line: str) -> dict[str, str]:
    """The fields of a line in logfmt."""
    return dict(word.split("=", 1) for word in shlex.split(line))


async def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    await asyncio.sleep(middleware.FLUSH_SECONDS * 1.5)
    return [fields_of(line) for line in capsys.readouterr().err.splitlines() if " method=" in line]


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
    return tuple(sorted(labels.items()))


async def test_each_request_is_a_line_in_the_log(owner: Api, capsys: pytest.CaptureFixture[str]) -> None:
    task = await owner.create()
    response = await owner.call("GET", path_of(task))
    await owner.client.get("/nowhere")
    created, got, unknown = await lines_of(capsys)
    assert (created["method"], created["route"], created["status"], created["level"]) == ("POST", TASKS, "201", "info")
    assert (got["route"], got["status"]) == ("/api/tasks/{task_id}", "200")
    assert got["request_id"] == response.headers["X-Request-ID"]
    assert float(got["ms"]) > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", got["time"])
    assert created["user"] == got["user"]
    assert re.fullmatch("[0-9a-f]{16}", got["user"])
    assert "user" not in unknown
    assert unknown["route"] == "unknown"
    assert list(got) == ["time", "level", "method", "route", "status", "ms", "request_id", "user"]


async def test_the_log_knows_users_only_as_hashes_that_nobody_else_can_make(
    settings: Settings, aiohttp_client: AiohttpClient, capsys: pytest.CaptureFixture[str]
) -> None:
    hashes = []
    for secret in (settings.jwt_secret, settings.jwt_secret, "another secret, which is as long as it has to be"):
        client: Client = await aiohttp_client(TestServer(create_app(replace(settings, jwt_secret=secret))))
        for user_id in ("alice", "bob"):
            api = Api(client, user_id, sign_token(secret, user_id, days=1))
            await api.tasks()
            [line] = await lines_of(capsys)
            hashes.append(line["user"])
    assert hashes[:2] == hashes[2:4]
    assert len(set(hashes)) == 4


async def test_the_route_is_known_also_where_its_method_is_not(owner: Api, capsys: pytest.CaptureFixture[str]) -> None:
    await owner.call("DELETE", TASKS)
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PATCH"}
    await owner.client.options(f"{TASKS}/x", headers=asked)
    refused, preflight = await lines_of(capsys)
    assert (refused["method"], refused["route"], refused["status"]) == ("DELETE", TASKS, "405")
    assert (preflight["method"], preflight["route"], preflight["status"]) == ("OPTIONS", f"{TASKS}/{{task_id}}", "204")


@pytest.mark.parametrize("given", ["abc-123", "0af7651916cd43dd8448eb211c80319c", "a/b:c+d=e.f_g", "x" * 128])
async def test_an_id_that_comes_with_a_request_is_its_id(client: Client, given: str) -> None:
    response = await client.get("/health", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a;b", "é", "a,b"])
async def test_an_id_that_could_confuse_a_log_is_replaced(client: Client, given: str) -> None:
    ids = {(await client.get("/health", headers={"X-Request-ID": given})).headers["X-Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids)


async def test_every_answer_has_an_id(owner: Api) -> None:
    client = owner.client
    for response in [
        await client.get("/nowhere"),
        await client.post("/health"),
        await client.get(TASKS),
        await client.options(TASKS, headers={"Origin": "x", "Access-Control-Request-Method": "GET"}),
        await owner.call("GET", "/api/export"),
        await owner.call("POST", TASKS, data=b"{", headers=JSON),
    ]:
        assert response.headers["X-Request-ID"]


async def test_what_goes_wrong_has_a_level_and_the_id_of_its_request(
    failing_client: Client, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(Formatter())
    await failing_client.get(FAILING, headers={"X-Request-ID": "mine"})
    await failing_client.get("/health/ready")
    failed, away = await lines_of(capsys)
    assert (failed["status"], failed["level"]) == ("500", "error")
    assert (away["status"], away["level"]) == ("503", "warning")
    [line] = [line for line in caplog.text.splitlines() if "ZeroDivisionError" in line]
    assert fields_of(line)["request_id"] == "mine"
    assert fields_of(line)["level"] == "error"


async def test_log_level_says_what_is_logged(
    aiohttp_client: AiohttpClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgres://127.0.0.1:1/none"
    client: Client = await aiohttp_client(
        TestServer(create_app(replace(settings, log_level="warning", database_url=url)))
    )
    await client.get("/health")
    await client.get("/health/ready")
    assert [line["status"] for line in await lines_of(capsys)] == ["503"]


def test_a_line_of_the_log_stays_one_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, 'a\nb "c" é\x1b', (), None)
    line = Formatter().format(record)
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line.split("message=", 1)[1]) == 'a\nb "c" é\x1b'


async def test_requests_are_counted_by_route_and_status(owner: Api, stranger: Api) -> None:
    name = "todo_service_request_duration_seconds_count"
    missed = series(method="GET", route="/api/tasks/{task_id}", status="404")
    made_up = series(method="unknown", route=TASKS, status="405")
    before = await numbers_of(owner.client, name)
    task = await owner.create()
    for _ in range(3):
        await stranger.call("GET", path_of(task))
        await owner.call("PROPFIND", TASKS)
    after = await numbers_of(owner.client, name)
    assert after[series(**CREATED)] - before.get(series(**CREATED), 0) == 1
    assert after[missed] - before.get(missed, 0) == 3
    assert after[made_up] - before.get(made_up, 0) == 3
    assert not [labels for labels in after if "PROPFIND" in str(labels)]


async def test_metrics_say_how_long_requests_took_and_what_the_database_does(owner: Api) -> None:
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


async def test_refusals_are_counted_by_reason(aiohttp_client: AiohttpClient, settings: Settings) -> None:
    client: Client = await aiohttp_client(
        TestServer(create_app(replace(settings, database_url="postgres://127.0.0.1:1/none")))
    )
    name, labels = "todo_service_requests_refused_total", series(reason="unavailable")
    before = (await numbers_of(client, name)).get(labels, 0)
    await client.get("/health/ready")
    assert (await numbers_of(client, name))[labels] - before == 1


async def test_metrics_can_be_kept_from_strangers(aiohttp_client: AiohttpClient, settings: Settings) -> None:
    token = "sixteen characters"[:16].replace(" ", "-")
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
async def test_metrics_are_those_of_all_workers_also_of_those_that_are_gone(
    service_database_url: str, tmp_path: Path
) -> None:
    async def counted(session: ClientSession, expected: int) -> None:
        """Waits until so many were counted. Each worker adds its own after a while, but none of them twice."""
        async with asyncio.timeout(PATIENCE):
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
            await counted(session, 40)
            before = {child.pid for child in gunicorn.children()}
            process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(pids := {child.pid for child in gunicorn.children()}) == 2 and not pids & before)
            await session.get(TASKS, headers=ALICE)
            await counted(session, 41)
            victim = gunicorn.children()[0]
            victim.kill()
            wait_until(lambda: len(children := gunicorn.children()) == 2 and victim not in children)
            await counted(session, 41)
            await until(lambda: len(list(directory.glob("gauge_livesum_*"))) <= 2)
    assert not directory.exists()  # noqa: ASYNC240
    lines = [fields_of(line) for line in (tmp_path / "log").read_text().splitlines()]  # gunicorn's own, too
    assert all({"time", "level"} <= line.keys() for line in lines)
    assert len([line for line in lines if line.get("route") == TASKS]) == 41


def test_nothing_depends_on_it_but_the_lines_that_switch_it_on() -> None:
    package = Path(logs.__file__).parents[1]
    files = [path for path in package.rglob("*.py") if "observability" not in path.parent.name]
    users = {path.name for path in files if "todo_service.observability" in path.read_text()}
    assert users == {"app.py", "gunicorn_config.py", "runner.py"}
