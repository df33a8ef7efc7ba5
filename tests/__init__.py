"""The tests. Each folder has the name of the package or folder that it tests; support/ has fixtures and helpers."""

import pytest

pytest.register_assert_rewrite("tests.support")
