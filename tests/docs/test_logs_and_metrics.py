"""docs/operations.md, "Logs and metrics": the sample line and the table match what the service writes."""

import asyncio
import re
from dataclasses import replace

import pytest
from aiohttp.test_utils import TestServer
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp import AiohttpClient

from tests.support.api import Api, Client
from tests.support.pages import names_in, page
from todo_service.app import create_app
from todo_service.observability import middleware
from todo_service.settings import Settings

pytestmark = pytest.mark.database

OPERATIONS, HEADING = page("docs/operations.md"), "Logs and metrics"


async def test_the_table_has_each_metric_with_its_type_and_labels(
    aiohttp_client: AiohttpClient, owner: Api, settings: Settings
) -> None:
    unreachable = replace(settings, database_url="postgres://127.0.0.1:1/none")
    client: Client = await aiohttp_client(TestServer(create_app(unreachable)))
    await client.get("/health/ready")  # the metric of refusals has labels only after a 503
    await client.get("/metrics")
    await owner.create()
    text = await (await owner.client.get("/metrics")).text()
    written = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("todo_service_") and not family.name.endswith("_created"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            written[family.name + "_total" * (family.type == "counter")] = (family.type, labels)

    rows = OPERATIONS.table(HEADING)
    assert {name.strip("`"): (kind, set(names_in(labels))) for name, kind, labels, _ in rows} == written


async def test_a_request_is_logged_with_the_fields_of_the_sample(
    owner: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    [sample] = OPERATIONS.blocks("", HEADING)
    await owner.create()
    await asyncio.sleep(middleware.FLUSH_SECONDS * 1.5)
    [line] = [line for line in capsys.readouterr().err.splitlines() if " method=" in line]
    assert re.findall(r"(\w+)=", line) == re.findall(r"(\w+)=", sample)
