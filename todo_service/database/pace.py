"""How fast the calls of a statement get their turn: what decides how many more may wait."""

MEMORY = 0.95
"""How much of what was known counts beside the latest batch."""


class Pace:
    """How fast the calls of a statement are taken while some wait, the latest ones counting most."""

    def __init__(self) -> None:
        self._calls = self._seconds = 0.0
        self._since: float | None = None  # when some were taken and others were left

    @property
    def seconds_per_call(self) -> float:
        """0 as long as it isn't known."""
        return self._seconds / self._calls if self._calls else 0.0

    def take(self, calls: int, now: float, *, last: bool) -> None:
        """Notes that calls were taken, and whether they were the last ones."""
        if self._since is not None:
            self._calls = self._calls * MEMORY + calls
            self._seconds = self._seconds * MEMORY + now - self._since
        self._since = None if last else now
