"""A clock that tests set ahead, for code that waits longer than a test may take."""

import asyncio
from typing import Any


class FakeAsyncio:
    """Replaces the module `asyncio` in a module under test. Its loop time is the real one plus `ahead` seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.time_calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    def get_running_loop(self) -> "FakeAsyncio":
        return self

    def time(self) -> float:
        self.time_calls += 1
        return asyncio.get_running_loop().time() + self.ahead
