"""Settings from the environment: the type of the fixture `read`, and the messages for wrong settings."""

from collections.abc import Callable
from typing import Any

import pytest

from todo_service.settings import Settings, SettingsError

Read = Callable[..., Settings]

URL = "postgres://user:hidden@db.example:5432/name"
SECRET = "hidden: a secret that is long enough for HS256"


def errors_of(read: Read, **arguments: Any) -> list[str]:
    """The error messages for these settings: sentences without secrets."""
    with pytest.raises(SettingsError) as caught:
        read(**arguments)
    sentences = str(caught.value).splitlines()
    assert all(sentence.endswith(".") for sentence in sentences)
    assert "hid" not in repr(caught.value)
    return sentences
