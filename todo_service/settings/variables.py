"""Declares settings: a setting is a field of a dataclass, with its environment variable as metadata."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from todo_service.settings.values import one_of, require


@dataclass(frozen=True)
class Variable:
    """The environment variable of a setting.

    `parse` raises ValueError for a wrong value, and `expected` describes the right values. `aliases` are other names of
    the variable. An internal variable is not documented: one process of the service sets it for another.
    """

    name: str
    text: str
    parse: Callable[[str], Any]
    expected: str
    secret: bool
    aliases: tuple[str, ...]
    internal: bool


def variable(
    name: str,
    text: str,
    *,
    parse: Callable[[str], Any] = str,
    expected: str = "",
    secret: bool = False,
    aliases: tuple[str, ...] = (),
    internal: bool = False,
    **default: Any,
) -> Any:
    metadata = {"variable": Variable(name, text, parse, expected, secret, aliases, internal)}
    return dataclasses.field(metadata=metadata, repr=not secret, **default)


def number(name: str, text: str, low: int, high: int, default: int) -> Any:
    def parse(value: str) -> int:
        number = int(value)
        require(low <= number <= high)
        return number

    limits = f"{low:,} to {high:,}"
    return variable(
        name, f"{text}; {limits}", parse=parse, expected=f"a whole number from {low} to {high}", default=default
    )


def choice(name: str, text: str, choices: tuple[str, ...], default: str) -> Any:
    def parse(value: str) -> str:
        require(value in choices)
        return value

    return variable(name, text, parse=parse, expected=one_of(choices), default=default)
