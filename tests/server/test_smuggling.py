"""Request smuggling: ambiguous requests get 400, and the service reads no part of a body as a request.

Each case hides a second request, which would create a task. A parser that misreads the first request would run the
second.
"""

import asyncio
import json

import pytest
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from tests.support.api import Api
from tests.support.processes import TEST_TIMEOUT
from tests.support.raw_http import PROBE, exchange, read_answers, receive, statuses

pytestmark = pytest.mark.database

TOKEN = "<token>"
COMMON = ["Host: x", f"Authorization: Bearer {TOKEN}", "Content-Type: application/json"]
OUTER = '{"title":"outer"}'
CHUNKED = f"11\r\n{OUTER}\r\n0\r\n\r\n"


def post(*lines: str, body: str = OUTER, first: str = "POST /api/tasks HTTP/1.1") -> str:
    return "\r\n".join([first, *COMMON, *lines]) + f"\r\n\r\n{body}"


def chunks(body: str) -> str:
    return post("Transfer-Encoding: chunked", body=body)


def get(target: str, *lines: str, version: str = "HTTP/1.1", body: str = "") -> str:
    return post(*lines, first=f"GET {target} {version}", body=body)


HIDDEN = post("Content-Length: 20", body='{"title":"smuggled"}')

LENGTHS = [
    "+17",
    "-17",
    "1_7",
    "0x11",
    "1 7",
    "17a",
    "17.0",
    "17, 17",
    "",
    "١٧",
    "\x0b17",
    "17\0",
    "9" * 23,
    f"{2**64 + 17}",
]

AMBIGUOUS = {
    "length and chunks": post("Content-Length: 17", "Transfer-Encoding: chunked", body=CHUNKED),
    "chunks and length": post("Transfer-Encoding: chunked", "Content-Length: 4", body=CHUNKED),
    "a length that covers the hidden request": post(
        "Content-Length: 999", "Transfer-Encoding: chunked", body="0\r\n\r\n"
    ),
    "chunked twice": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED),
    "identity, then chunked": post("Transfer-Encoding: identity", "Transfer-Encoding: chunked", body=CHUNKED),
    "chunked, but not last": post("Transfer-Encoding: chunked, identity", body=CHUNKED),
    "identity": post("Transfer-Encoding: identity", body=CHUNKED),
    "identity and length": post("Transfer-Encoding: identity", "Content-Length: 17"),
    "an unknown coding": post("Transfer-Encoding: xchunked", body=CHUNKED),
    "an unknown coding and length": post("Transfer-Encoding: xchunked", "Content-Length: 17"),
    "a coding without a name": post("Transfer-Encoding:", body=CHUNKED),
    "a quoted coding": post('Transfer-Encoding: "chunked"', body=CHUNKED),
    "a vertical tab before the coding": post("Transfer-Encoding: \x0bchunked", body=CHUNKED),
    "a vertical tab after the coding": post("Transfer-Encoding: chunked\x0b", body=CHUNKED),
    "a space before the colon of the coding": post("Content-Length: 17", "Transfer-Encoding : chunked"),
    "a tab before the colon of the coding": post("Transfer-Encoding\t: chunked", body=CHUNKED),
    "a space before the colon of the length": post("Content-Length : 17"),
    "a folded coding": post("Transfer-Encoding:", " chunked", body=CHUNKED),
    "a folded length": post("Content-Length:", " 17"),
    "a coding in a folded line": post("Content-Length: 17", "X: y", " Transfer-Encoding: chunked"),
    "a coding after a line feed": post("Content-Length: 17", "X: y\nTransfer-Encoding: chunked"),
    "a coding after a carriage return": post("Content-Length: 17", "X: y\rTransfer-Encoding: chunked"),
    "a first header that is folded": post("Content-Length: 17", first="POST /api/tasks HTTP/1.1\r\n X: y"),
    "line feeds only": post("Content-Length: 17").replace("\r\n", "\n"),
    "carriage returns only": post("Content-Length: 17").replace("\r\n", "\r"),
    "a line feed after the first line": post("Content-Length: 17").replace("\r\n", "\n", 1),
    "a line feed after the headers": post("Content-Length: 17").replace("\r\n\r\n", "\r\n\n"),
    **{f"the length {length!r}": post(f"Content-Length: {length}") for length in LENGTHS},
    "a length twice": post("Content-Length: 17", "Content-Length: 17"),
    "two lengths": post("Content-Length: 17", "content-length: 0"),
    "the chunk size 0x11": chunks(f"0x11\r\n{OUTER}\r\n0\r\n\r\n"),
    "the chunk size +11": chunks(f"+11\r\n{OUTER}\r\n0\r\n\r\n"),
    "the chunk size -1": chunks("-1\r\nx\r\n0\r\n\r\n"),
    "the chunk size 1_1": chunks(f"1_1\r\n{OUTER}\r\n0\r\n\r\n"),
    "a chunk size without a digit": chunks(f"g\r\n{OUTER}\r\n0\r\n\r\n"),
    "an empty chunk size": chunks(f"\r\n{OUTER}\r\n0\r\n\r\n"),
    "a chunk size of more than 64 bits": chunks(f"1{'0' * 14}11\r\n{OUTER}\r\n0\r\n\r\n"),
    "a space before the size": chunks(f" 11\r\n{OUTER}\r\n0\r\n\r\n"),
    "a space after the size": chunks(f"11 \r\n{OUTER}\r\n0\r\n\r\n"),
    "two carriage returns after the size": chunks(f"11\r\r\n{OUTER}\r\n0\r\n\r\n"),
    "a line feed after the size": chunks(f"11\n{OUTER}\r\n0\r\n\r\n"),
    "a line feed after the data": chunks(f"11\r\n{OUTER}\n0\r\n\r\n"),
    "line feeds after the last chunk": chunks(f"11\r\n{OUTER}\r\n0\n\n"),
    "a chunk that is longer than its size": chunks(f"10\r\n{OUTER}\r\n0\r\n\r\n"),
    "a chunk without a line end": chunks(f"11\r\n{OUTER}0\r\n\r\n"),
    "an extension that a line feed ends": chunks(f"11;a\n{OUTER}\r\n0\r\n\r\n"),
    "a carriage return in an extension": chunks(f"11;a\rb\r\n{OUTER}\r\n0\r\n\r\n"),
    "a line end in a quoted extension": chunks(f'11;a="\r\n"\r\n{OUTER}\r\n0\r\n\r\n'),
    "a trailer without a colon": chunks(f"11\r\n{OUTER}\r\n0\r\nX y\r\n\r\n"),
    "a length in the trailer": chunks(f"11\r\n{OUTER}\r\n0\r\nContent-Length: 9\r\n\r\n"),
    "chunks in HTTP/1.0": post("Transfer-Encoding: chunked", body=CHUNKED, first="POST /api/tasks HTTP/1.0"),
    "a header without a colon": get("/health", "Xy"),
    "a header without a name": get("/health", ": y"),
    "a space in a name": get("/health", "X Y: z"),
    "NUL in a name": get("/health", "X\0: y"),
    "NUL in a value": get("/health", "X: y\0"),
    "a second host": get("/health", "Host: y"),
    "no host": "GET /health HTTP/1.1\r\n\r\n",
    "200 headers": get("/health", *(f"X{number}: y" for number in range(200))),
    "a header of 70,000 characters": get("/health", f"X: {'y' * 70_000}"),
    "no version": "GET /health\r\n\r\n",
    "no version, but headers": get("/health", version=""),
    **{
        f"version {version}": get("/health", version=version)
        for version in ("HTTP/0.9", "HTTP/1.2", "HTTP/1.10", "HTTP/2.0", "http/1.1", "ICY/1.1")
    },
    "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a target without a slash": get("health"),
    "a target that is an authority": get("evil.example:80"),
    "an asterisk": get("*"),
    "a space in the target": get("/health x"),
    "NUL in the target": get("/health\0"),
    "a target that is not ASCII": get("/hälth"),
    "a method with a quote": post(first='PO"ST /api/tasks HTTP/1.1'),
    "a space before the method": post(first=" POST /api/tasks HTTP/1.1"),
}
"""Malformed or ambiguous requests. Those with an unknown method are in test_unknown_methods.py."""

UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")

CLOSING = {
    "an upgrade": (200, get("/health", *UPGRADE)),
    "an upgrade with a body": (201, post("Content-Length: 17", *UPGRADE)),
    "an upgrade to websocket": (200, get("/health", "Connection: Upgrade", "Upgrade: websocket")),
    "a refused upgrade": (404, get("/api/nothing", *UPGRADE)),
    "CONNECT": (404, post(first="CONNECT evil.example:80 HTTP/1.1", body="")),
    "CONNECT to a path": (404, post(first="CONNECT /api/tasks HTTP/1.1", body="")),
    "Connection: close": (200, post("Connection: close", first="GET /health HTTP/1.0", body="")),
    "HTTP/1.0": (200, post(first="GET /health HTTP/1.0", body="")),
}

HIDING = f"Content-Length: {len(HIDDEN)}"
LENGTH = "Content-Length: 17"

UNAMBIGUOUS: dict[str, tuple[list[int], str]] = {
    "a length": ([201], post(LENGTH)),
    "a length with leading zeros": ([201], post("Content-Length: 00017")),
    "a length between spaces": ([201], post("Content-Length: \t 17 \t")),
    "a header with a similar name": ([201], post(LENGTH, "Content_Length: 0", "Transfer_Encoding: chunked")),
    "a length that Connection names": ([201], post(LENGTH, "Connection: content-length")),
    "a length in HTTP/1.0": ([201], post(LENGTH, "Connection: keep-alive", first="POST /api/tasks HTTP/1.0")),
    "a line end after the body": ([201], post(LENGTH, body=f"{OUTER}\r\n")),
    "line ends before the request": ([201], f"\r\n\r\n{post(LENGTH)}"),
    "chunks": ([201], chunks(CHUNKED)),
    "chunked in upper case": ([201], post("Transfer-Encoding: CHUNKED", body=CHUNKED)),
    "several chunks": ([201], chunks(f"A\r\n{OUTER[:10]}\r\n7\r\n{OUTER[10:]}\r\n0\r\n\r\n")),
    "a chunk size with leading zeros": ([201], chunks(f"{'0' * 20}11\r\n{OUTER}\r\n0\r\n\r\n")),
    "a last chunk of many zeros": ([201], chunks(f"11\r\n{OUTER}\r\n0000\r\n\r\n")),
    "extensions of chunks": ([201], chunks(f'11;a=b;c="d"\r\n{OUTER}\r\n0;e\r\n\r\n')),
    "a trailer": ([201], chunks(f"11\r\n{OUTER}\r\n0\r\nX: y\r\n\r\n")),
    "a trailer with another token": ([201], chunks(f"11\r\n{OUTER}\r\n0\r\nAuthorization: Bearer x\r\n\r\n")),
    "Expect": ([201], post(LENGTH, "Expect: 100-continue")),
    "gzip, then chunked": ([415], post("Transfer-Encoding: gzip, chunked", body=CHUNKED)),
    "a coding without a name and a length": ([415], post("Transfer-Encoding:", LENGTH)),
    "a body of GET": ([200], get("/health", HIDING, body=HIDDEN)),
    "chunks of GET": ([200], get("/health", "Transfer-Encoding: chunked", body=f"<size>\r\n{HIDDEN}\r\n0\r\n\r\n")),
    "a body of HEAD": ([200], post(HIDING, body=HIDDEN, first="HEAD /health HTTP/1.1")),
    "a body of DELETE": ([404], post(HIDING, body=HIDDEN, first="DELETE /api/tasks/x HTTP/1.1")),
    "a body of OPTIONS": (
        [204],
        post(HIDING, "Access-Control-Request-Method: GET", body=HIDDEN, first="OPTIONS /api/tasks HTTP/1.1"),
    ),
    "a body of an unknown route": ([404], post(HIDING, body=HIDDEN, first="POST /api/nothing HTTP/1.1")),
    "a body without a token": ([401], post(HIDING, body=HIDDEN).replace("Authorization", "X", 1)),
    "a body that is not JSON": ([400], post(HIDING, body=HIDDEN)),
    "a body of another type": ([415], post(HIDING, body=HIDDEN).replace("application/json", "text/html", 1)),
    "a body with an unknown expectation": ([400], post(HIDING, "Expect: x", body=HIDDEN)),
    "a body that is too large": ([413], post("Content-Length: 70000", body=HIDDEN.ljust(70_000))),
    "an absolute target": ([200], get("http://evil.example/health", HIDING, body=HIDDEN)),
    "two slashes": ([404], get("//evil.example/health", HIDING, body=HIDDEN)),
    "two spaces before the target": ([200], get(" /health", HIDING, body=HIDDEN)),
    "a fragment": ([200], get("/health#/../api/tasks", HIDING, body=HIDDEN)),
    "an asterisk with OPTIONS": ([404], post(HIDING, body=HIDDEN, first="OPTIONS * HTTP/1.1")),
}
"""Requests that can be read in one way only, with their statuses."""


def octets(request: str, owner: Api) -> bytes:
    """The request with the owner's token, and with lengths that fit this token."""
    growth = len(owner.token) - len(TOKEN)
    hidden_size = len(HIDDEN) + growth
    request = request.replace(HIDING, f"Content-Length: {hidden_size}").replace("<size>", f"{hidden_size:x}")
    if "Content-Length: 70000" in request:
        request = request[:-growth]
    return request.replace(TOKEN, owner.token).encode()


async def titles(owner: Api) -> list[str]:
    return [task["title"] for task in await owner.tasks()]


def test_aiohttp_uses_its_compiled_parser() -> None:
    """Without its compiled parser, aiohttp uses one in Python, which accepts some of these requests."""
    assert HttpRequestParser is not HttpRequestParserPy


@pytest.mark.parametrize("request_", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_an_ambiguous_request_gets_400_and_ends_the_connection(owner: Api, request_: str) -> None:
    answers = await exchange(owner.client, octets(request_ + HIDDEN, owner))
    assert statuses(answers) == [400]
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert json.loads(answers[0].body)["type"] == "/problems#malformed-request"
    answers = await exchange(owner.client, octets(request_ + HIDDEN, owner), at_a_time=50)
    assert statuses(answers) in ([400], [])
    assert await titles(owner) == []


@pytest.mark.parametrize(("status", "request_"), CLOSING.values(), ids=CLOSING.keys())
async def test_data_after_the_last_request_of_a_connection_is_not_read(owner: Api, status: int, request_: str) -> None:
    answers = await exchange(owner.client, octets(request_ + HIDDEN, owner))
    assert statuses(answers) in ([status], [400])
    assert "smuggled" not in await titles(owner)


async def test_data_that_arrives_later_after_an_upgrade_is_not_read(owner: Api) -> None:
    """aiohttp discards data that arrives together with an upgrade, and would read later data as a request."""
    assert owner.client.port is not None
    reader, writer = await asyncio.open_connection(owner.client.host, owner.client.port)
    hiding = octets(post(HIDING, body=HIDDEN), owner)
    head, hidden = hiding[: -len(octets(HIDDEN, owner))], octets(HIDDEN, owner)
    writer.write(octets(get("/health", *UPGRADE), owner) + head)
    await asyncio.sleep(0.05)
    writer.write(hidden)
    answers = list(read_answers(await asyncio.wait_for(receive(reader), timeout=TEST_TIMEOUT)))
    writer.close()
    assert statuses(answers) == [200]
    assert await titles(owner) == []


@pytest.mark.parametrize(("expected", "request_"), UNAMBIGUOUS.values(), ids=UNAMBIGUOUS.keys())
async def test_the_body_of_a_request_is_not_read_as_a_request(owner: Api, expected: list[int], request_: str) -> None:
    for pieces in ({}, {"at_a_time": 50}):
        answers = await exchange(owner.client, octets(request_, owner) + PROBE, **pieces)
        assert statuses(answers) == [*expected, 200]
    assert await titles(owner) == ["outer"] * 2 * expected.count(201)


async def test_pipelined_requests_are_answered_in_order(owner: Api) -> None:
    """Shows that the hidden request creates a task when it is sent on its own."""
    answers = await exchange(owner.client, octets(post(LENGTH) + HIDDEN + get("/api/nothing"), owner) + PROBE)
    assert statuses(answers) == [201, 201, 404, 200]
    assert await titles(owner) == ["smuggled", "outer"]


async def test_malformed_data_after_a_request_gets_400(owner: Api) -> None:
    answers = await exchange(owner.client, octets(post(LENGTH) + "0\r\n\r\n" + HIDDEN, owner))
    assert statuses(answers)[-1] == 400
    assert "smuggled" not in await titles(owner)
