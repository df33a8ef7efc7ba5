"""Locked users: calls that got a lock timeout are parked here, so that they don't delay the batches of other users.

A call gets a lock timeout if another session has locked the user's row for longer than LOCK_TIMEOUT. From then on, all
writes of this user are parked (or all reads, if the call was a read). One parked call is retried at a time, and the
users take turns. If a retry gets no lock timeout, the other parked calls of its user return to the queue.
"""

from collections import Counter, deque
from collections.abc import Callable

from todo_service.database.calls import PendingCall

LOCK_RETRY_SECONDS = 0.1
"""The pause between retries. Without other requests, a retry waits for the next poll of database.py: at most 0.3 s."""

MAX_PARKED = 10_000
MAX_QUEUED_PER_LOCKED_USER = 1_000

RETRY_CUTOFF_SECONDS = 0.5
"""If a parked call has less time left than this, it is not retried. So PostgreSQL has certainly not applied it."""

LockKey = tuple[bool, str]
"""The writes of a user have one key, and the reads have another. Calls with equal keys wait for the same rows."""


def lock_key(call: PendingCall) -> LockKey:
    return call.statement.writes, call.user_id


class LockedUsers:
    """The parked calls of each locked user."""

    def __init__(self) -> None:
        self.parked: dict[LockKey, deque[PendingCall]] = {}  # in the order of turns; other classes only read this dict
        self._sizes: Counter[bool] = Counter()  # the number of parked reads and of parked writes
        self._retried: PendingCall | None = None  # the retry in flight
        self._retry_at = 0.0

    def __len__(self) -> int:
        return self._sizes.total()

    def should_reject(self, call: PendingCall) -> bool:
        """Whether a call would be parked, but too many calls of its user, or of all users, are parked already."""
        calls = self.parked.get(lock_key(call))
        return calls is not None and (len(calls) >= MAX_QUEUED_PER_LOCKED_USER or len(self) >= MAX_PARKED)

    def park(self, call: PendingCall, now: float) -> None:
        """Parks a call that got a lock timeout, or would get one. A retried call becomes the first of its user."""
        call.sent = False
        key = lock_key(call)
        calls = self.parked.setdefault(key, deque())
        self._sizes[key[0]] += 1
        if call is self._retried:
            calls.appendleft(call)
            self._retried, self._retry_at = None, now + LOCK_RETRY_SECONDS
        else:
            calls.append(call)
            self._retry_at = self._retry_at or now + LOCK_RETRY_SECONDS

    def add(self, call: PendingCall) -> bool:
        """Parks a new call if its user is locked. Returns whether it was parked."""
        calls = self.parked.get(lock_key(call))
        if calls is None:
            return False
        calls.append(call)
        self._sizes[call.statement.writes] += 1
        return True

    def can_retry(self, now: float, has_room: Callable[[bool], bool]) -> bool:
        """Whether a call may be retried now. `has_room(True)` is for writes."""
        if self._retried is not None or now < self._retry_at:
            return False
        return any(self._sizes[writes] and has_room(writes) for writes in (False, True))

    def next_call(self, now: float, has_room: Callable[[bool], bool]) -> PendingCall | None:
        """The call to retry, or None if no call has enough time left. Call `finish` when it has ended."""
        if not self.can_retry(now, has_room):
            return None
        for key, calls in list(self.parked.items()):
            if not has_room(key[0]):
                continue
            for call in calls:
                if call.deadline > now + RETRY_CUTOFF_SECONDS and not call.future.done():
                    calls.remove(call)
                    self._sizes[key[0]] -= 1
                    self.parked[key] = self.parked.pop(key)  # the next retry is for another user
                    self._retried = call
                    return call
        return None

    def finish(self, call: PendingCall) -> list[PendingCall]:
        """Ends a retry. If it got no lock timeout, returns the other calls of its user, which are no longer parked."""
        if call is not self._retried:  # it was parked again
            return []
        calls = self.parked.pop(lock_key(call), deque())
        self._sizes[call.statement.writes] -= len(calls)
        self._retried, self._retry_at = None, 0.0
        return list(calls)

    def clear(self) -> list[PendingCall]:
        """Removes all calls, and returns them."""
        calls = [call for parked in self.parked.values() for call in parked]
        self.parked.clear()
        self._sizes.clear()
        return calls

    def remove_expired(self, now: float) -> list[PendingCall]:
        """Removes and returns the calls whose deadlines are too near for a retry. Also removes cancelled calls."""
        cutoff = now + RETRY_CUTOFF_SECONDS
        expired = []
        self._sizes.clear()
        for key, calls in list(self.parked.items()):
            expired += [call for call in calls if call.deadline < cutoff]
            self.parked[key] = remaining = deque(c for c in calls if c.deadline >= cutoff and not c.future.done())
            self._sizes[key[0]] += len(remaining)
            if not remaining and not (self._retried and key == lock_key(self._retried)):
                del self.parked[key]
        return expired
