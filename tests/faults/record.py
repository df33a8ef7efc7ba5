"""The records of the clients: the acknowledged and possible states of each task, and the outcome of each request."""

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class KnownTask:
    """A task, as its client expects it. No other client changes it."""

    user: str
    id: str
    title: str
    """It is unique and never changes, so it shows which request created a row."""
    revision: int
    text: str | None = None
    completed: bool = False
    deleted: bool = False
    possible_texts: set[str] = field(default_factory=set)
    """The texts of updates whose outcome is unknown. PostgreSQL may also apply them late."""
    maybe_toggled: bool = False
    maybe_deleted: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether an unacknowledged write may have changed the task."""
        return bool(self.possible_texts) or self.maybe_toggled or self.maybe_deleted


@dataclass
class Record:
    """The records of all clients of one load."""

    tasks: list[KnownTask] = field(default_factory=list)
    refused_titles: set[str] = field(default_factory=set)
    """The titles of creates that got `unavailable`."""
    doubtful_titles: set[str] = field(default_factory=set)
    """The titles of creates whose outcome is unknown."""
    acknowledged: Counter[str] = field(default_factory=Counter)
    """The number of acknowledged writes by user. Each took one revision."""
    doubtful: Counter[str] = field(default_factory=Counter)
    """The number of writes with an unknown outcome by user."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """The number of each outcome: a status with its problem, or the reason why there was no response."""
    violations: list[str] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    """The times at which requests were served (monotonic clock)."""
    last_served: dict[int, float] = field(default_factory=dict)
    """The time at which each client was served last."""
    slowest: float = 0.0
    slowest_health_request: float = 0.0
    """The slowest /health request, which measures the load of the machine."""

    def answered(self, client: int, outcome: str, seconds: float, *, served: bool) -> None:
        """Records the end of a request."""
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, seconds)
        if served:
            self.last_served[client] = time.monotonic()
            self.served.append(self.last_served[client])

    def violated(self, violation: str) -> None:
        """Records a violation of the requirements."""
        self.violations.append(violation)

    def rate(self, begin: float, end: float) -> float:
        """The requests served per second between these times."""
        return (bisect_left(self.served, end) - bisect_left(self.served, begin)) / (end - begin)
