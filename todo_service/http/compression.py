"""Compression: gzip for large responses, if the client accepts it (RFC 9110, sections 8.4 and 12.5.3).

docs/performance.md compares codings, libraries and levels.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import TypeGuard, cast

from aiohttp import hdrs, web
from isal import isal_zlib

from todo_service.http.etags import coded_tag
from todo_service.http.routes import is_api

GZIP = "gzip"
LEVEL = 1
MIN_BYTES = 8 * 1024
"""Smaller bodies are sent as they are: they fit into a few TCP segments."""

MIN_BYTES_FOR_THREAD = 64 * 1024
"""A thread compresses these bodies, so that other requests don't wait. For smaller ones, the hand-over takes longer."""

WINDOW = 16 + isal_zlib.MAX_WBITS  # 16 selects the format of gzip

# An element of Accept-Encoding: a coding, and its weight from 0 to 1. A malformed element is ignored.
ELEMENT = re.compile(r"[ \t]*([^ \t;]+)[ \t]*(?:;[ \t]*q=([01](?:\.[0-9]{0,3})?)[ \t]*)?")

COMPRESSION = web.AppKey("compression", bool)
"""Whether to compress at all."""


def is_compressible(response: web.StreamResponse) -> TypeGuard[web.Response]:
    """Whether a response is worth compressing. Errors never are, and streams are compressed while they are produced."""
    body = response.body if isinstance(response, web.Response) else None
    return isinstance(body, bytes) and len(body) >= MIN_BYTES and response.status < 400


def should_gzip(request: web.Request) -> bool:
    """Whether compression is on, and the client prefers gzip to an uncompressed response."""
    values = request.headers.getall(hdrs.ACCEPT_ENCODING, None)
    return values is not None and request.app[COMPRESSION] and _prefers_gzip(", ".join(values))


@lru_cache(100)  # clients send the same few values again and again
def _prefers_gzip(value: str) -> bool:
    elements = (ELEMENT.fullmatch(element) for element in value.lower().split(","))
    weights = {element[1]: float(element[2] or 1) for element in elements if element}
    weight = weights.get(GZIP, weights.get("x-gzip", weights.get("*", 0)))
    return 0 < weight >= weights.get("identity", 0)


async def compress(request: web.Request, response: web.Response) -> None:
    """Compresses the body of a large response for a client that accepts gzip. The response gets a tag of its own."""
    tag = response.headers.get(hdrs.ETAG)
    gzip = _gzip_once if tag and not is_api(request) else _gzip  # public responses with a tag never change
    response.body = await _run(gzip, cast("bytes", response.body))
    response.headers[hdrs.CONTENT_ENCODING] = GZIP
    if tag:
        response.headers[hdrs.ETAG] = coded_tag(tag, GZIP)


async def compress_stream(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Compresses a stream. Each chunk is flushed, so that the client can read it before the next chunk exists."""
    stream = isal_zlib.compressobj(LEVEL, wbits=WINDOW)

    def compress_chunk(chunk: bytes) -> bytes:
        return stream.compress(chunk) + stream.flush(isal_zlib.Z_SYNC_FLUSH)

    async for chunk in chunks:
        yield await _run(compress_chunk, chunk)
    yield stream.flush()


async def _run(function: Callable[[bytes], bytes], data: bytes) -> bytes:
    if len(data) < MIN_BYTES_FOR_THREAD:
        return function(data)
    return await asyncio.get_running_loop().run_in_executor(None, function, data)


def _gzip(body: bytes) -> bytes:
    return isal_zlib.compress(body, LEVEL, WINDOW)


_gzip_once = lru_cache(16)(_gzip)
