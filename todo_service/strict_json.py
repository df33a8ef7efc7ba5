"""A strict JSON parser (RFC 8259). It refuses NaN, repeated names and huge integers, which parsers read differently."""

import json
from typing import Any, NoReturn

MAX_DIGITS = 400  # of an integer. int() refuses more than 4,300 digits, but with a message that would not help a client


def parse(octets: bytes) -> Any:
    """The document in these octets. Raises ValueError with a message for the client."""
    try:
        return DECODER.decode(octets.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} isn't UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(members)
    if len(result) != len(members):
        raise ValueError("an object has a name twice")
    return result


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number has too many digits")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
