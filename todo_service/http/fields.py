"""The fields of request schemas. They accept fewer values than marshmallow's fields, or load values of another type.

Each error message is a predicate: the field's name and the message make a sentence. `openapi_schema` is the field's
schema in the API's description. Its patterns are valid in Python and in JavaScript, and match every value that the
field accepts.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from marshmallow import ValidationError, fields, missing

from todo_service.http.cursors import decode_cursor
from todo_service.http.etags import SYNC_TOKEN, TAGS, parse_sync_token, parse_tags

MAX_PAGE_SIZE = 1000

# RFC 3339, section 5.6, in ASCII digits. datetime checks that the day exists.
DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)

UUID_PATTERN = re.compile("[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
MESSAGES = {"required": "Is required.", "null": "Must not be null."}


class StrictString(fields.String):
    """A JSON string that PostgreSQL can store."""

    openapi_schema: Mapping[str, Any] = {"pattern": r"^[^\u0000]*$"}
    default_error_messages = {**MESSAGES, "invalid": "Must be a string."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if found := UNSTORABLE.search(value):
            what = "the character NUL" if found[0] == "\0" else "half of a surrogate pair"
            raise ValidationError(f"Must not contain {what}.")
        return value


class StrictBoolean(fields.Boolean):
    """A JSON boolean. Other values that mean true or false, like 1 and "yes", are errors."""

    default_error_messages = {**MESSAGES, "invalid": "Must be true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class StrictUuid(fields.UUID):
    """A UUID in the form of RFC 9562, in any case. UUID() accepts more forms."""

    default_error_messages = {**MESSAGES, "invalid_uuid": f"Must be a UUID like {UUID(int=0)}."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> UUID:
        if not isinstance(value, str) or not UUID_PATTERN.fullmatch(value):
            raise self.make_error("invalid_uuid")
        return UUID(value)


class Ignored(fields.Raw):
    """A member that may have any value. It is not loaded."""

    def deserialize(self, *_args: Any, **_kwargs: Any) -> Any:
        return missing


class UtcDateTime(fields.DateTime):
    """An RFC 3339 date-time with seconds and offset, loaded as the text of the same time in UTC.

    It is not loaded as a datetime, because asyncpg sends datetime.min and datetime.max as -infinity and infinity.
    """

    default_error_messages = {**MESSAGES}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not DATE_TIME.fullmatch(value):
            raise ValidationError("Must be an RFC 3339 date-time with seconds and offset, like 2026-12-31T23:59:59Z.")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            raise ValidationError("Must be a date and time that exists, in UTC in the years 0001 to 9999.") from None


class DateTimeParameter(UtcDateTime):
    """A UtcDateTime in a query. Its message says how to encode a value that is wrong only in its encoding."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not DATE_TIME.fullmatch(value):
            if DATE_TIME.fullmatch(value.replace(" ", "+")):  # in a query, `+` means a space
                raise ValidationError("Must be an RFC 3339 date-time: write its + as %2B.")
            if DATE_TIME.fullmatch(unquote(value)):
                raise ValidationError("Must be an RFC 3339 date-time: percent-encode it only once.")
        return super()._deserialize(value, attr, data, **kwargs)


class PageSize(fields.Integer):
    """A page size in a query, in ASCII digits: int() would accept other digits, too."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not re.fullmatch("0{0,9}[0-9]{1,4}", value, re.ASCII) or not 1 <= int(value) <= MAX_PAGE_SIZE:
            raise ValidationError(f"Must be a whole number from 1 to {MAX_PAGE_SIZE}, in digits only.")
        return int(value)


class CursorParameter(fields.String):
    """The opaque cursor of a `Link`, loaded as a Cursor."""

    openapi_schema: Mapping[str, Any] = {"pattern": "^[A-Za-z0-9_-]+$"}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        cursor = decode_cursor(value)
        if cursor is None:
            raise ValidationError("Must be a cursor from the Link of the previous page, unchanged and without quotes.")
        return cursor


class RepeatedParameter(fields.List[str]):
    """A query parameter that may be repeated. The parameter gets the error of its first invalid value."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError as error:
            raise ValidationError(next(iter(error.messages_dict.values()))) from None


class SyncTokenParameter(fields.String):
    """The `since` of a client that synchronises, loaded as a SyncToken."""

    openapi_schema: Mapping[str, Any] = {"pattern": f"^{SYNC_TOKEN.pattern}$"}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        token = parse_sync_token(value)
        if token is None:
            raise ValidationError("Must be the `since` of the last response, or the ETag of a list without its quotes.")
        return token


class EntityTags(fields.String):
    """A list of entity tags, loaded without the tags that the service can't have sent."""

    openapi_schema: Mapping[str, Any] = {
        # `*` has its own schema: Schemathesis finds no value for a pattern without letters and digits.
        "anyOf": [{"type": "string", "enum": ["*"]}, {"type": "string", "pattern": f"^{TAGS.pattern}$"}]
    }

    def __init__(self, *, strong: bool, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)
        self._strong = strong

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return parse_tags(value, strong=self._strong)
        except ValueError as error:
            raise ValidationError(str(error)) from None
