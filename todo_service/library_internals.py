"""Private names of libraries, each with the reason why no documented way does."""

from contextlib import suppress

from aiohttp import web, web_response, web_urldispatcher

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
