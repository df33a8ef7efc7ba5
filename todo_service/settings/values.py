"""Parsers of values: each returns the value of a setting, or raises ValueError.

Only the text of a WrongValueError is shown. For other errors the message comes from the variable's `expected`.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from jwt.algorithms import HMACAlgorithm

SECRET_ALGORITHMS = ("HS256",)
PUBLIC_KEY_ALGORITHMS = ("EdDSA", "ES256", "RS256")
METRICS_TOKEN_LENGTH = 16
SECRET_BYTES = 32  # RFC 7518, section 3.2: a key for HS256 is at least as long as the hash


class WrongValueError(ValueError):
    """A wrong value. Each of its mistakes ends the sentence "VARIABLE must be ...", and contains no secret."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes


def is_loopback(host: str) -> bool:
    """Whether a host (name or address) is a loopback address, which other machines can't reach."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require(condition: bool) -> None:
    """Raises a ValueError if the condition is false."""
    if not condition:
        raise ValueError


def parse_secret(value: str) -> str:
    require(len(value.encode()) >= SECRET_BYTES)
    HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(value)  # refuses a public key
    return value


def parse_key_set_url(value: str) -> str:
    parts = urlsplit(value)
    _ = parts.port  # raises ValueError if it is not a number
    require(bool(parts.hostname))
    require(parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")))
    return value


def parse_metrics_token(value: str) -> str:
    require(len(value) >= METRICS_TOKEN_LENGTH and re.fullmatch("[!-~]+", value) is not None)
    return value


def one_of(choices: Sequence[str]) -> str:
    """The choices as a message lists them: `a, b or c`."""
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def parse_algorithms(value: str) -> tuple[str, ...]:
    algorithms = split(value)
    require(set(algorithms) <= set(SECRET_ALGORITHMS) or set(algorithms) <= set(PUBLIC_KEY_ALGORITHMS))
    return algorithms
