"""library_internals.py uses private names of libraries, which still work as expected."""

import asyncio
import socket

import asyncpg
import pytest
from aiohttp import HttpVersion11, web
from aiohttp.test_utils import make_mocked_request
from aiohttp_apispec import docs
from prometheus_client import CollectorRegistry
from pytest_aiohttp import AiohttpClient

from tests.support.api import Client
from tests.support.processes import wait_until
from todo_service import library_internals
from todo_service.library_internals import AppRunner, BulkHistogram, RequestHandler


class Recorder(RequestHandler):
    """A connection that records its state after each piece of data."""

    __slots__ = ()
    states: list[tuple[int, bool]] = []  # noqa: RUF012 - a test has only one connection

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.states.append((self.requests_started, self.is_waiting_for_headers))


class RecordingRunner(AppRunner):
    connection_class = Recorder


async def answer(_request: web.Request) -> web.Response:
    return web.Response(text="answered")


async def test_a_connection_distinguishes_incomplete_headers_from_requests() -> None:
    """The runner uses `connection_class`, whose properties distinguish incomplete headers from requests."""
    app = web.Application()
    app.router.add_get("/", answer)
    runner = RecordingRunner(app)
    await runner.setup()
    Recorder.states.clear()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"GET / HTTP/1.1\r\nHo")
        await wait_until(lambda: len(Recorder.states) == 1)
        writer.write(b"st: x\r\n\r\n")
        assert (await reader.readuntil(b"answered")).startswith(b"HTTP/1.1 200")
        writer.close()
    finally:
        await runner.cleanup()
    (before, waiting), (after, _) = Recorder.states
    assert (before, waiting, after) == (0, True, 1)


async def test_an_unknown_expectation_on_an_unknown_path_gets_404(aiohttp_client: AiohttpClient) -> None:
    library_internals.ignore_unknown_expectations()
    client: Client = await aiohttp_client(web.Application())
    assert (await client.get("/x", headers={"Expect": "x"})).status == 404


async def test_a_request_of_another_http_version_gets_an_http_1_1_response() -> None:
    request = make_mocked_request("GET", "/")
    request._version = (2, 0)  # type: ignore[assignment]
    library_internals.respond_with_http_1_1(request)
    assert request.version == HttpVersion11


def test_the_declarations_of_a_handler_can_be_read() -> None:
    @docs(  # type: ignore[untyped-decorator]
        tags=["x"], summary="y", responses={204: {"description": "z"}}
    )
    async def handler(_request: web.Request) -> web.Response:
        return web.Response()

    declared = library_internals.declared_by(handler)
    assert (declared["tags"], declared["summary"], declared["responses"]) == (["x"], "y", {204: {"description": "z"}})


@pytest.mark.database
async def test_the_socket_of_a_connection_can_be_configured(connection: asyncpg.Connection) -> None:
    sock = library_internals.socket_of(connection)
    assert sock.fileno() >= 0
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


def test_a_bulk_histogram_adds_many_observations_at_once() -> None:
    registry = CollectorRegistry()
    histogram = BulkHistogram("seconds", "Some", buckets=(1, 2), registry=registry)
    histogram.add([3, 0, 4], 17.5)
    histogram.observe(1.5)
    values = {bound: registry.get_sample_value("seconds_bucket", {"le": bound}) for bound in ("1.0", "2.0", "+Inf")}
    assert values == {"1.0": 3, "2.0": 4, "+Inf": 8}
    assert registry.get_sample_value("seconds_sum") == 19
