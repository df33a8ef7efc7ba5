"""The parser of CORS_ORIGINS: origins exactly as browsers, WebViews and extensions send them."""

import re
from ipaddress import IPv4Address

from yarl import URL

from todo_service.settings.values import WrongValueError, is_loopback, require, split

FORM = (
    "origins as browsers send them, like https://app.example.com: without quotes, path or slash at the end, "
    "separated by commas"
)
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
NUMERIC_HOST = re.compile(r"[/.](?:[0-9]+|0x[0-9a-f]*)\.?(?::[0-9]+)?$")
ORIGIN = re.compile(r"[^:/]+://(\[[0-9a-f:]+\]|[\w.-]*)(:[0-9]{1,5})?", re.ASCII)
WITHOUT_ORIGIN = ("about", "blob", "data", "ftp", "javascript", "ws", "wss")  # no page has an origin with these schemes


def parse_origins(value: str) -> tuple[str, ...]:
    origins = split(value)
    mistakes = [mistake for origin in origins if (mistake := _mistake_in(origin))]
    if mistakes:
        raise WrongValueError(*mistakes)
    return origins


def _mistake_in(text: str) -> str | None:
    """The mistake in an origin. If the text is the address of a page, the mistake names the origin to write."""
    if "*" in text:
        return f"single origins like https://app.example.com, without wildcards, not {text!r}"
    if text.lower() == "null":
        return f"origins of your own pages, not {text!r}: pages of any site can send it, from a sandboxed frame"
    try:
        right = canonical_origin(text if "://" in text else _with_scheme(text))
    except (ValueError, IndexError):  # yarl raises IndexError for brackets before an empty host
        return f"{FORM}, not {text!r}"
    return None if text == right else f"origins as browsers send them: write {right}, not {text!r}"


def _with_scheme(text: str) -> str:
    host = re.sub(":[0-9]*$", "", text)
    require("." in host or is_loopback(host))  # another word is hardly a host
    return f"http://{text}" if is_loopback(host) else f"https://{text}"


def canonical_origin(address: str) -> str:
    """The `Origin` that a browser sends for a page of this address.

    Raises ValueError if there is none, or none that the service accepts.
    """
    scheme, _, rest = address.partition("://")
    scheme = scheme.lower()
    require(address.isprintable() and SCHEME.fullmatch(scheme) is not None and scheme not in WITHOUT_ORIGIN)
    if scheme == "file":
        return "file://"
    # For http and https, the host is in lower case and Punycode, without the default port. Other hosts stay unchanged.
    is_web = scheme in ("http", "https")
    origin = str(URL(address).origin()) if is_web else f"{scheme}://{re.split('[/?#]', rest)[0]}"
    require(ORIGIN.fullmatch(origin) is not None)
    if is_web and NUMERIC_HOST.search(origin):
        IPv4Address(URL(origin).host or "")  # raises ValueError for other forms, which browsers would write differently
    return origin
