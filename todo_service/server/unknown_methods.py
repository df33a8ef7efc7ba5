"""Methods that the HTTP parser doesn't know, like `patch`. The parser reports them like malformed HTTP."""

import re

from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError

# The parser's message quotes a line, and marks the octet at which no method that it knows was possible any more. The
# method begins before the mark, and ends before a target or with the TCP segment.
QUOTED = re.compile(r"\n  b['\"](?P<line>.*)['\"]\n {4}(?P<before> *)\^\Z")
TOKEN = r"[!#$%&*+.^_`|~0-9A-Za-z-]"  # noqa: S105 - of RFC 9110, section 5.6.2, but without the apostrophe
METHOD = re.compile(rf"(?:(?<=[A-Z_-])|{TOKEN}){TOKEN}*(?P<target> +(?:/|\*|https?:))?")
OF_RTSP = "Invalid method for HTTP/"  # the parser knows some methods of RTSP, but not in HTTP
WORD = re.compile("([A-Za-z]{1,20}) ")

IN_METHODS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_-"
"""The octets of the methods that the parser knows. A method may continue after a segment that ends with one of them."""


def unknown_method(error: BaseException, segment: bytes, *, starts_request: bool) -> str | None:
    """Returns the method that the parser doesn't know, or None if the parser refused the segment for another reason.

    The result is an empty text if the method is not a short word, or may begin before the segment or after its start.
    A problem must not repeat a part of a method, of a body or of a token.
    """
    quoted = QUOTED.search(error.message) if isinstance(error, HttpProcessingError) else None
    if quoted is None or not (OF_RTSP in quoted.string or _is_method(error, quoted, segment)):
        return None
    word = WORD.match(quoted["line"])
    return word[1] if word and starts_request and segment.startswith(word[0].encode()) else ""


def _is_method(error: BaseException, quoted: re.Match[str], segment: bytes) -> bool:
    method = METHOD.match(quoted["line"], len(quoted["before"])) if isinstance(error, BadHttpMethod) else None
    if method is None:
        return False
    is_incomplete = method.end() == len(quoted["line"]) and segment.endswith(method[0].encode())
    return is_incomplete or method["target"] is not None
