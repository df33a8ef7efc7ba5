"""The fixture of the tests of settings: reads the settings of an environment."""

import pytest

from tests.support.settings import SECRET, URL, Read
from todo_service.settings import Settings, read_settings


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads these settings, and also the required ones unless `only` is true."""

    def read(*names: str, only: bool = False, **variables: str) -> Settings:
        required = {} if only else {"DATABASE_URL": URL, "JWT_SECRET": SECRET}
        for name, value in (required | variables).items():
            monkeypatch.setenv(name, value)
        return read_settings(*names)

    return read
