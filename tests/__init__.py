"""The tests, in folders named for the packages and folders that they test; fixtures and helpers are in support/."""

import pytest

pytest.register_assert_rewrite("tests.support")
