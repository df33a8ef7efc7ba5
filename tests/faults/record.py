"""What clients know: of each task what was acknowledged and what is in doubt, and of each request how it went."""

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class KnownTask:
    """A task as the one client that changes it knows it."""

    user: str
    id: str
    title: str
    """Unlike any other's, and never changed: it tells which request made a row."""
    revision: int
    text: str | None = None
    completed: bool = False
    deleted: bool = False
    possible_texts: set[str] = field(default_factory=set)
    """What changes whose outcome is unknown would have written; they may be applied late, too."""
    maybe_toggled: bool = False
    maybe_deleted: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether anything may have happened to it that nobody acknowledged."""
        return bool(self.possible_texts) or self.maybe_toggled or self.maybe_deleted


@dataclass
class Record:
    """All that the clients of one load saw."""

    tasks: list[KnownTask] = field(default_factory=list)
    refused_titles: set[str] = field(default_factory=set)
    """Of creates that were answered with `unavailable`."""
    doubtful_titles: set[str] = field(default_factory=set)
    """Of creates that nobody answered clearly."""
    acknowledged: Counter[str] = field(default_factory=Counter)
    """By user: how many writes certainly took a revision."""
    doubtful: Counter[str] = field(default_factory=Counter)
    """By user: how many perhaps did."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Statuses, kinds of 503, and what is no answer."""
    violations: list[str] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    """When requests were served, by the monotonic clock."""
    last_served: dict[int, float] = field(default_factory=dict)
    """When each client was served last."""
    slowest: float = 0.0
    slowest_of_control: float = 0.0
    """Of requests that need no database, and that tell how late everything is."""

    def answered(self, client: int, outcome: str, seconds: float, *, served: bool) -> None:
        """Notes the end of a request."""
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, seconds)
        if served:
            self.last_served[client] = time.monotonic()
            self.served.append(self.last_served[client])

    def violated(self, what: str) -> None:
        """Notes what must not be."""
        self.violations.append(what)

    def rate(self, begin: float, end: float) -> float:
        """Requests served in each second between these times."""
        return (bisect_left(self.served, end) - bisect_left(self.served, begin)) / (end - begin)
