"""Locked users: calls that met a locked row wait here, so that they don't delay the batches of other users.

A call meets a lock when another session holds the user's row for longer than LOCK_TIMEOUT. From then on all calls of
this user are parked. They are retried one at a time, and the users take turns. As soon as one is successful, the other
calls of its user return to the queue.
"""

from collections import deque
from collections.abc import Callable

from todo_service.database.calls import PendingCall

MAX_QUEUED_PER_LOCKED_USER = 1_000

RETRY_CUTOFF_SECONDS = 0.5
"""A parked call is not retried so shortly before its deadline, so that it was certainly not applied."""

LockKey = tuple[bool, object]
"""Calls with equal keys block on the same rows: the writes, or the reads, of one user."""


def lock_key(call: PendingCall) -> LockKey:
    return call.statement.writes, call.user_id


class LockedUsers:
    """The parked calls of each locked user."""

    def __init__(self) -> None:
        self._parked: dict[LockKey, deque[PendingCall]] = {}  # in the order of their turns
        self._retried: LockKey | None = None
        self._may_retry = False

    def __bool__(self) -> bool:
        return bool(self._parked)

    def __len__(self) -> int:
        return sum(map(len, self._parked.values()))

    def is_full(self, key: LockKey) -> bool:
        """Whether no more calls of this user may wait."""
        return len(self._parked.get(key, ())) >= MAX_QUEUED_PER_LOCKED_USER

    def park(self, call: PendingCall) -> None:
        """Parks a call that met a lock, or would meet the same one, before the other calls of its user."""
        call.sent = False
        key = lock_key(call)
        self._parked.setdefault(key, deque()).appendleft(call)
        if key == self._retried:
            self._retried, self._may_retry = None, False

    def add(self, call: PendingCall) -> bool:
        """Parks a new call if its user is locked, and returns whether it did."""
        calls = self._parked.get(lock_key(call))
        if calls is None:
            return False
        calls.append(call)
        return True

    def allow_retry(self) -> None:
        """Allows to retry one call; and, as long as retried calls meet no lock, the next ones."""
        self._may_retry = True

    def can_retry(self, has_room: Callable[[bool], bool]) -> bool:
        """Whether a call may be retried now; `has_room` tells whether a write or a read may be sent."""
        return self._may_retry and self._retried is None and any(has_room(writes) for writes, _ in self._parked)

    def next_call(self, now: float, has_room: Callable[[bool], bool]) -> PendingCall | None:
        """The call to retry, if there is one that has time enough. `finish` or `park` must follow."""
        if not self.can_retry(has_room):
            return None
        for key, calls in list(self._parked.items()):
            while calls and calls[0].future.done():
                calls.popleft()
            if calls and calls[0].deadline > now + RETRY_CUTOFF_SECONDS and has_room(key[0]):
                self._parked[key] = self._parked.pop(key)  # the other users come first the next time
                self._retried, self._may_retry = key, False
                return calls.popleft()
        return None

    def finish(self) -> list[PendingCall]:
        """Ends a retry. If its call met no lock, returns the other calls of its user, which are no longer parked."""
        if self._retried is None:  # it was parked again
            return []
        calls = self._parked.pop(self._retried, deque())
        self._retried, self._may_retry = None, True
        return list(calls)

    def clear(self) -> list[PendingCall]:
        """Removes all calls, and returns them."""
        calls = [call for parked in self._parked.values() for call in parked]
        self._parked.clear()
        return calls

    def remove_expired(self, now: float) -> list[PendingCall]:
        """Removes and returns the calls that are not retried any more. Calls whose callers left are removed, too."""
        cutoff = now + RETRY_CUTOFF_SECONDS
        expired = []
        for key, calls in list(self._parked.items()):
            expired += [call for call in calls if call.deadline < cutoff]
            self._parked[key] = remaining = deque(c for c in calls if c.deadline >= cutoff and not c.future.done())
            if not remaining and key != self._retried:
                del self._parked[key]
        return expired
