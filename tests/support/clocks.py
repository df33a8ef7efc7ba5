"""A clock that tests set ahead, for code that waits longer than a test may take."""

import asyncio
from typing import Any


class LoopClock:
    """Replaces the module `asyncio`: the time of its event loops is `ahead` by this many seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.looked_at = 0
        """The number of calls of `time`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    def get_running_loop(self) -> "LoopClock":
        return self

    def time(self) -> float:
        self.looked_at += 1
        return asyncio.get_running_loop().time() + self.ahead
