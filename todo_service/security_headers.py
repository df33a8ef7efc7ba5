"""What every answer tells the browsers that get it, and none tells of what it is made with."""

from contextlib import suppress

from aiohttp import web, web_response, web_urldispatcher
from multidict import CIMultiDict

SECURITY_HEADERS = CIMultiDict(
    {
        # An answer is no page: a browser that takes it for one loads, runs and frames nothing. Pages have their own.
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        # Other sites can't embed answers; those of CORS_ORIGINS fetch them by CORS, which this doesn't concern.
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        # Browsers heed it over https only, and for this host alone.
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
    }
)
"""Merged into each answer, which costs 0.6 us: 0.2 to add them and 0.4 to send them (a signal: 0.4 us more)."""

_meet_expectation = web_urldispatcher._default_expect_handler  # noqa: SLF001 - there is no way to replace it for 404


def adapt_aiohttp() -> None:
    """Changes what aiohttp sends by itself, in all of this process: `Server`, and 417, which no middleware sees.

    An expectation that nobody knows is ignored instead (RFC 9110, section 10.1.1).
    """
    web_response.SERVER_SOFTWARE = "todo-service"  # type: ignore[attr-defined] # which tells no versions
    web_urldispatcher._default_expect_handler = _answer_expectation  # noqa: SLF001


async def _answer_expectation(request: web.Request) -> None:
    with suppress(web.HTTPExpectationFailed):
        await _meet_expectation(request)
