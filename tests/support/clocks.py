"""Time that a test puts forward, where the code under test waits for longer than a test may take."""

import asyncio
from typing import Any


class LoopClock:
    """Stands in for the module `asyncio`: the time of its event loops is `ahead` by so many seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.looked_at = 0
        """How often somebody asked for the time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    def get_running_loop(self) -> "LoopClock":
        return self

    def time(self) -> float:
        self.looked_at += 1
        return asyncio.get_running_loop().time() + self.ahead
