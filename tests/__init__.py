"""The tests, in folders like the packages of todo_service/; fixtures and helpers are in support/."""

import pytest

pytest.register_assert_rewrite("tests.support")
