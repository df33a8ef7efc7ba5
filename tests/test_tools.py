"""Whether a missing tool skips a test or fails it."""

import sys
from pathlib import Path

import pytest

from tests.tools import REQUIRE_ALL, require


@pytest.fixture(autouse=True)
def only_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.delenv(REQUIRE_ALL, raising=False)


def test_the_first_tool_that_there_is_is_taken() -> None:
    assert require("no-such-tool", Path(sys.executable).name) == sys.executable


def test_a_missing_tool_skips_the_test_that_needs_it() -> None:
    with pytest.raises(pytest.skip.Exception, match="there is no no-such-tool or another"):
        require("no-such-tool", "another")


def test_a_missing_tool_is_a_failure_where_everything_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE_ALL, "1")
    with pytest.raises(pytest.fail.Exception, match="there is no no-such-tool, and TEST_REQUIRE_ALL is set"):
        require("no-such-tool")
