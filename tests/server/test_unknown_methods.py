"""Methods that the service doesn't know: the response says how to write methods, and the connection is closed."""

import asyncio
import json
import logging
from contextlib import closing
from functools import partial
from http.client import HTTPConnection

import pytest
from multidict import CIMultiDict

from tests.http.test_security_headers import assert_has_security_headers
from tests.support.api import TASKS, Api, Client, ServiceServer, problem_of
from tests.support.processes import TEST_TIMEOUT, wait_until
from tests.support.raw_http import Answer, exchange, read_answers, receive, statuses
from todo_service.server import http_protocol
from todo_service.server.graceful import Runner
from todo_service.server.http_protocol import Connection

SECRET = "needle"
HEAD = f"/api/tasks?q={SECRET} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
UNNAMED = "The service doesn't know this method; methods are written in capitals, like PATCH."

WORDS = [
    *("patch", "get", "post", "put", "delete", "head", "options", "Post", "Patch", "pATCH", "PATCh", "OPTIoNS"),
    *("FOO", "PATCHES", "GETX", "x", "X", "a" * 20, "PLAY", "DESCRIBE"),
]
OTHER_TOKENS = [
    *("a" * 21, "A" * 3000, "PATCH1", "x-y", "M-search", "m_search", "get.", "~", "!#$%&*+-.^_`|~", SECRET + "1"),
    *("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYXJvbCJ9.c2lnbmF0dXJl",),
]
NOT_METHODS = {
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 /x HTTP/1.1\r\n\r\n",
    "a TLS hello with a method": b"\x16\x03\x01patch /x HTTP/1.1\r\n\r\n",
    "SSH without a comment": b"SSH-2.0-Go\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6p1 Debian-3\r\n",
    "SMTP": b"EHLO client.example\r\n",
    "a sentence": b"hello, is this HTTP?\r\n",
    "the end of a JSON object": b'uy milk"}\r\n',
    "NUL": b"pat\0ch /x HTTP/1.1\r\n\r\n",
    "letters that are not ASCII": "pätch /x HTTP/1.1\r\n\r\n".encode(),
    "full-width letters": "ｐａｔｃｈ /x HTTP/1.1\r\n\r\n".encode(),
    "a quote": b'pa"tch /x HTTP/1.1\r\n\r\n',
    "a parenthesis": b"patch() /x HTTP/1.1\r\n\r\n",
    "a space before it": b" patch /x HTTP/1.1\r\n\r\n",
    "a tab after it": b"patch\t/x HTTP/1.1\r\n\r\n",
    "no method": b" /x HTTP/1.1\r\n\r\n",
    "a header": b"Host: x\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
KNOWN = ["PROPFIND", "LINK", "M-SEARCH", "TRACE", "SOURCE", "REPORT", "PURGE", "QUERY"]


def request(method: str, *lines: str, body: str = "") -> bytes:
    return "\r\n".join([f"{method} {HEAD}", *lines, "", body]).encode()


def assert_unknown(answers: list[Answer], detail: str = UNNAMED) -> None:
    """Checks that the only response is this problem, and that it can't be cached."""
    assert statuses(answers) == [501]
    headers, document = answers[0].headers, json.loads(answers[0].body)
    assert document == {
        "type": "/problems#method-not-implemented",
        "title": "Method not implemented",
        "status": 501,
        "detail": detail,
    }
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["cache-control"] == "no-store"
    assert_has_security_headers(CIMultiDict(headers))


def naming(method: str) -> str:
    return f"The service doesn't know the method {method}; methods are written in capitals, like PATCH."


@pytest.mark.parametrize("method", WORDS)
async def test_an_unknown_method_is_named_and_gets_501(client: Client, method: str) -> None:
    assert_unknown(await exchange(client, request(method)), naming(method))


@pytest.mark.parametrize("method", OTHER_TOKENS)
async def test_an_unknown_method_that_is_not_a_short_word_gets_501_without_its_name(
    client: Client, method: str
) -> None:
    assert_unknown(await exchange(client, request(method)))


@pytest.mark.parametrize("target", ["*", "http://x/api/tasks", "/?q=it's", '/?q="it\'s"', "  /x", "/é"])
async def test_an_unknown_method_gets_501_for_any_form_of_target(client: Client, target: str) -> None:
    octets = f"patch {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert_unknown(await exchange(client, octets), naming("patch"))


@pytest.mark.parametrize("octets", NOT_METHODS.values(), ids=NOT_METHODS)
async def test_octets_that_are_no_method_get_400(client: Client, octets: bytes) -> None:
    [answer] = await exchange(client, octets)
    assert answer.status == 400
    assert json.loads(answer.body)["type"] == "/problems#malformed-request"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", KNOWN)
async def test_a_known_method_that_a_path_does_not_support_gets_405(owner: Api, method: str) -> None:
    response = await owner.call(method, TASKS)
    await problem_of(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "GET, HEAD, POST"


async def in_pieces(client: Client, *pieces: bytes, ends: bytes) -> list[Answer]:
    """The responses to the last piece, which arrives after the service has handled the others.

    The response to a piece ends with `ends`. If this is empty, the other pieces get no response.
    """
    assert client.port is not None
    reader, writer = await asyncio.open_connection(client.host, client.port)
    for piece in pieces[:-1]:
        writer.write(piece)
        if ends:
            await asyncio.wait_for(reader.readuntil(ends), timeout=TEST_TIMEOUT)
        await wait_until(partial(has_received, client, piece))
    writer.write(pieces[-1])
    answers = list(read_answers(await asyncio.wait_for(receive(reader), timeout=TEST_TIMEOUT)))
    writer.close()
    return answers


def has_received(client: Client, octets: bytes) -> bool:
    """Whether these are the last octets that a connection has received."""
    assert isinstance(client.server, ServiceServer)
    assert isinstance(client.server.runner, Runner)
    assert client.server.runner.server
    connections = client.server.runner.server.connections
    return any(isinstance(each, Connection) and each._first_segment.endswith(octets[-1:]) for each in connections)


@pytest.mark.parametrize(
    ("first", "second"),
    [("p", "atch"), ("pat", "ch"), ("PAT", "ch"), ("PATCH", "es"), ("PA", "TCHES"), ("M-", "search")],
)
async def test_a_method_that_arrives_in_two_pieces_is_not_named(client: Client, first: str, second: str) -> None:
    assert_unknown(await in_pieces(client, first.encode(), request(second), ends=b""))


async def test_a_method_that_arrives_in_single_octets_is_not_named(client: Client) -> None:
    assert_unknown(await exchange(client, request("patch"), at_a_time=1))


async def test_an_unknown_method_after_other_requests_is_named(owner: Api) -> None:
    body = '{"title": "x"}'
    head = f"POST {TASKS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {owner.token}\r\nContent-Length: {len(body)}\r\n"
    creation = f"{head}Content-Type: application/json\r\n\r\n{body}".encode()
    for previous in ([HEALTH], [HEALTH, creation], [creation]):
        assert_unknown(await in_pieces(owner.client, *previous, request("patch"), ends=b"}"), naming("patch"))


@pytest.mark.parametrize("body", ["", "AB", "GE"])
async def test_an_unknown_method_together_with_another_request_is_not_named(client: Client, body: str) -> None:
    """The parser reports only the error, so the first request gets no response and is not carried out."""
    first = f"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    assert_unknown(await exchange(client, first + request("tch")))


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_response_can_be_read_while_the_client_sends_a_body(client: Client, chunked: bool) -> None:
    body = f"{60_000:x}\r\n{SECRET:60000}\r\n0\r\n\r\n" if chunked else f"{SECRET:60000}"
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 60000"
    octets = request("patch", length, body=body)
    for size in (len(octets), 10_000, len(request("patch", length))):
        assert_unknown(await exchange(client, octets, at_a_time=size), naming("patch"))


@pytest.mark.parametrize("size", [60_000, 30_000_000])
async def test_a_client_that_sends_its_whole_body_first_can_read_the_response(client: Client, size: int) -> None:
    """Python's own client is such a client. A reset makes it fail before it reads."""

    def send() -> tuple[int, bytes]:
        with closing(HTTPConnection(client.host, client.port, timeout=TEST_TIMEOUT)) as connection:
            connection.request("patch", TASKS, body=b"x" * size)
            response = connection.getresponse()
            return response.status, response.read()

    status, body = await asyncio.to_thread(send)
    assert (status, json.loads(body)["detail"]) == (501, naming("patch"))


async def test_the_connection_is_closed_if_the_client_does_not_close_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "CLOSING_SECONDS", 0.1)
    assert client.port is not None
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(request("patch"))
    assert_unknown(list(read_answers(await asyncio.wait_for(reader.read(), timeout=TEST_TIMEOUT))), naming("patch"))

    async def send() -> None:
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send(), timeout=TEST_TIMEOUT)
    writer.close()


async def test_a_request_in_the_body_of_an_unknown_method_is_not_carried_out(owner: Api) -> None:
    body = '{"title": "smuggled"}'
    lines = [f"{TASKS} HTTP/1.1", "Host: x", f"Authorization: Bearer {owner.token}", "Content-Type: application/json"]
    creation = "\r\n".join([f"POST {lines[0]}", *lines[1:], f"Content-Length: {len(body)}", "", body])
    octets = "\r\n".join([f"post {lines[0]}", *lines[1:], f"Content-Length: {len(creation)}", "", creation])
    assert_unknown(await exchange(owner.client, octets.encode()), naming("post"))
    assert_unknown(await exchange(owner.client, octets.encode(), at_a_time=50), naming("post"))
    assert await owner.tasks() == []


async def test_the_log_has_no_part_of_the_request(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for method in ("patch", SECRET, SECRET + "1", "PLAY"):
        await exchange(client, request(method))
    assert "refused an unknown method" in caplog.text
    assert SECRET not in caplog.text
    assert "patch" not in caplog.text
