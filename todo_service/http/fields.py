"""The kinds of values that come in: what marshmallow would take besides, or otherwise, is refused.

Messages are predicates: a field's name and its message make a sentence. `described` is what the description of the API
says of a text, with patterns as regular expressions of JavaScript have them too: they let through what is loaded
without complaint.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import And

from todo_service.http.cursors import decode_cursor
from todo_service.http.etags import TAGS, VERSION, read_tags, read_version

MAX_PAGE_SIZE = 1000

# RFC 3339, section 5.6, in ASCII digits. That the day exists is for datetime to check.
DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
MESSAGES = {"required": "Is required.", "null": "Must not be null."}


class Member(fields.Field[Any]):
    """A member of a body."""

    @cached_property
    def _validate_all(self) -> And:  # which marshmallow makes anew for each value
        return And(*self.validators)


class Text(Member, fields.String):
    """A JSON string that PostgreSQL can store."""

    described: Mapping[str, Any] = {"pattern": r"^[^\u0000]*$"}
    default_error_messages = {**MESSAGES, "invalid": "Must be a string."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if found := UNSTORABLE.search(value):
            what = "the character NUL" if found[0] == "\0" else "half of a surrogate pair"
            raise ValidationError(f"Must not contain {what}.")
        return value


class Truth(Member, fields.Boolean):
    """A JSON boolean: not 1, not "yes"."""

    default_error_messages = {**MESSAGES, "invalid": "Must be true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Time(Member, fields.DateTime):
    """An RFC 3339 date-time with seconds and offset, loaded as the text of the same moment in UTC.

    Text, because asyncpg takes the first and the last moment that a datetime can hold for infinity.
    """

    default_error_messages = {**MESSAGES}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not DATE_TIME.fullmatch(value):
            raise ValidationError("Must be an RFC 3339 date-time like 2026-12-31T23:59:59Z.")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            raise ValidationError("Must be a moment of the calendar, in UTC within the years 0001 to 9999.") from None


class PageSize(fields.Integer):
    """A number in a query: ASCII digits, nothing that only int() would take."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not re.fullmatch("0{0,9}[0-9]{1,4}", value, re.ASCII) or not 1 <= int(value) <= MAX_PAGE_SIZE:
            raise ValidationError(f"Must be a whole number from 1 to {MAX_PAGE_SIZE}.")
        return int(value)


class Cursor(fields.String):
    """The opaque cursor of a `Link`, loaded as the position that it names."""

    described: Mapping[str, Any] = {"pattern": "^[A-Za-z0-9_-]+$"}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        position = decode_cursor(value)
        if position is None:
            raise ValidationError("Must be taken unchanged from the Link of the page before.")
        return position


class AnyOf(fields.List[str]):
    """A parameter of a query that may be repeated. What is wrong with one value is wrong with the parameter."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError as error:
            raise ValidationError(next(iter(error.messages_dict.values()))) from None


class Since(fields.String):
    """What a client that synchronises has already, loaded as a Version."""

    described: Mapping[str, Any] = {"pattern": f"^{VERSION.pattern}$"}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        version = read_version(value)
        if version is None:
            raise ValidationError("Must be the `since` of the answer before, or the ETag of a list without its quotes.")
        return version


class EntityTags(fields.String):
    """A list of entity tags, loaded as those that could be ours."""

    described: Mapping[
        str, Any
    ] = {  # not in one pattern: Schemathesis finds no value for one without letters and digits
        "anyOf": [{"type": "string", "enum": ["*"]}, {"type": "string", "pattern": f"^{TAGS.pattern}$"}]
    }

    def __init__(self, *, strong: bool, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)
        self._strong = strong

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return read_tags(value, strong=self._strong)
        except ValueError as error:
            raise ValidationError(str(error)) from None
