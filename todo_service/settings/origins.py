"""The parser of CORS_ORIGINS: origins exactly as browsers, WebViews and extensions send them."""

import re
import socket
from ipaddress import IPv6Address
from urllib.parse import quote, unquote

import idna

from todo_service.settings.values import WrongValueError, is_loopback, require, split

ORIGINS = (
    "origins as browsers send them, like https://app.example.com: in lower case, without a path or slash at the end, "
    "separated by commas"
)
DEFAULT_PORTS = {"http": 80, "https": 443}
WITHOUT_ORIGIN = ("about", "blob", "data", "ftp", "javascript", "ws", "wss")  # no page has an origin with these schemes
ADDRESS = re.compile(
    r"([a-z][a-z0-9+.-]*)://(?:[^/?#]*@)?(\[[^\]/?#]*\]|[^:/?#]*)(?::([0-9]*))?(?:[/?#].*)?", re.ASCII | re.IGNORECASE
)
WITHOUT_SCHEME = re.compile(r"(\[[^\]]+\]|[^:/?#\s]+)(:[0-9]+)?(?:[/?#]\S*)?", re.ASCII)
HOST_NAME = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.?")
IPV4 = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
OPAQUE_HOST = re.compile(r"[\w.~!$&()+=%-]*")  # without the characters of a wildcard, a list or quotes


def parse_origins(value: str) -> tuple[str, ...]:
    origins = split(value)
    mistakes = [mistake for origin in origins if (mistake := _mistake_in(origin))]
    if mistakes:
        raise WrongValueError(*mistakes)
    return origins


def _mistake_in(text: str) -> str | None:
    if "*" in text:
        return f"single origins like https://app.example.com, without wildcards, not {text!r}"
    if text.lower() == "null":
        return f"origins of your own pages, not {text!r}: pages of any site can send it, from a sandboxed frame"
    try:
        require(text.isprintable())
        right = canonical_origin(_complete(text))
    except ValueError:
        return f"{ORIGINS}, not {text!r}"
    return None if text == right else f"origins as browsers send them: write {right}, not {text}"


def _complete(text: str) -> str:
    """The text without the quotes and brackets of a list, and with a scheme if it is only a host."""
    text = re.sub(r"""^\[?["']+|["']+\]?$""", "", text)
    host = WITHOUT_SCHEME.fullmatch(text)
    if host is None or not (host[2] or "." in host[1] or is_loopback(host[1])):
        return text
    return f"http://{text}" if is_loopback(host[1]) else f"https://{text}"


def canonical_origin(address: str) -> str:
    """The `Origin` that a browser sends for a page of this address, after the URL and HTML standards.

    Raises ValueError if there is none, or none that the service accepts.
    """
    match = ADDRESS.fullmatch(address)
    if not match or match[1].lower() in WITHOUT_ORIGIN:
        raise ValueError("not the address of a page")
    scheme, host, port = match[1].lower(), match[2], match[3]
    if scheme == "file":
        return "file://"
    if host.startswith("["):
        host = f"[{_ipv6(host[1:-1])}]"
    else:
        host = _host(host) if scheme in DEFAULT_PORTS else _opaque_host(host)
    if not port or int(port) == DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    if int(port) > 65_535:
        raise ValueError("not a port")
    return f"{scheme}://{host}:{int(port)}"


def _host(text: str) -> str:
    """The host of an http or https address: a name in lower case and Punycode, or an IPv4 address."""
    labels = idna.uts46_remap(unquote(text), std3_rules=False).split(".")
    host = ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels)
    if not HOST_NAME.fullmatch(host):
        raise ValueError("not a host")
    if not IPV4.fullmatch(host):
        return host
    try:
        return socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))
    except OSError:
        raise ValueError("not an IPv4 address") from None


def _ipv6(text: str) -> str:
    if "%" in text:
        raise ValueError("a browser accepts no zone")
    address = IPv6Address(text)
    mapped = address.ipv4_mapped  # browsers write it in hexadecimal; Python's way depends on its version
    return f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}" if mapped else address.compressed


def _opaque_host(text: str) -> str:
    """The host of any other scheme. Browsers keep its case. It is empty if the pages are files of the app."""
    if not OPAQUE_HOST.fullmatch(text):
        raise ValueError("not a host")
    return quote(text, safe="~!$&()+=%")
