"""The log: one line of logfmt for each request and each error, without user ids."""

import asyncio
import json
import logging
import re
import shlex
from dataclasses import replace

import pytest
from aiohttp.test_utils import TestServer
from pytest_aiohttp import AiohttpClient

from tests.support.api import FAILING, TASKS, Api, Client, path_of
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.observability import middleware
from todo_service.observability.logfmt import Formatter
from todo_service.settings import Settings

pytestmark = pytest.mark.database


def fields_of(line: str) -> dict[str, str]:
    """The fields of a log line."""
    return dict(word.split("=", 1) for word in shlex.split(line))


async def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    """The fields of the log lines of requests since the last call."""
    await asyncio.sleep(middleware.FLUSH_SECONDS * 1.5)
    return [fields_of(line) for line in capsys.readouterr().err.splitlines() if " method=" in line]


async def test_each_request_is_logged_in_one_line(owner: Api, capsys: pytest.CaptureFixture[str]) -> None:
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


async def test_the_log_has_hashes_of_user_ids_made_with_the_secret(
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


async def test_a_request_with_an_unknown_method_is_logged_with_its_route(
    owner: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    await owner.call("DELETE", TASKS)
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PATCH"}
    await owner.client.options(f"{TASKS}/x", headers=asked)
    refused, preflight = await lines_of(capsys)
    assert (refused["method"], refused["route"], refused["status"]) == ("DELETE", TASKS, "405")
    assert (preflight["method"], preflight["route"], preflight["status"]) == ("OPTIONS", f"{TASKS}/{{task_id}}", "204")


async def test_errors_are_logged_with_a_level_and_the_request_id(
    failing_client: Client, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(Formatter())
    await failing_client.get(FAILING, headers={"X-Request-ID": "mine"})
    await failing_client.get("/health/ready")
    failed, unavailable = await lines_of(capsys)
    assert (failed["status"], failed["level"]) == ("500", "error")
    assert (unavailable["status"], unavailable["level"]) == ("503", "warning")
    [line] = [line for line in caplog.text.splitlines() if "ZeroDivisionError" in line]
    assert fields_of(line)["request_id"] == "mine"
    assert fields_of(line)["level"] == "error"


async def test_log_level_warning_leaves_out_successful_requests(
    aiohttp_client: AiohttpClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgres://127.0.0.1:1/none"
    client: Client = await aiohttp_client(
        TestServer(create_app(replace(settings, log_level="warning", database_url=url)))
    )
    await client.get("/health")
    await client.get("/health/ready")
    assert [line["status"] for line in await lines_of(capsys)] == ["503"]


def test_a_log_message_with_line_breaks_stays_on_one_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, 'a\nb "c" é\x1b', (), None)
    line = Formatter().format(record)
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line.split("message=", 1)[1]) == 'a\nb "c" é\x1b'
