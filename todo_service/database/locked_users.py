"""Locked users: calls that got a lock timeout are parked here, so that they don't delay the batches of other users.

A call gets a lock timeout if another session has locked the user's row for longer than LOCK_TIMEOUT. From then on, all
writes of this user are parked (or all reads, if the call was a read). One parked call is retried at a time, and the
users take turns. If a retry gets no lock timeout, the other parked calls of its user return to the queue.
"""

from collections import Counter, deque
from collections.abc import Callable

from todo_service.database.calls import PendingCall

LOCK_RETRY_SECONDS = 0.1
MAX_PARKED = 10_000
MAX_QUEUED_PER_LOCKED_USER = 1_000

RETRY_CUTOFF_SECONDS = 0.5
"""A parked call is not retried if its deadline is nearer than this. So it is certain that it was not applied."""

LockKey = tuple[bool, str]
"""Calls with equal keys block on the same rows: the writes, or the reads, of one user."""


def lock_key(call: PendingCall) -> LockKey:
    return call.statement.writes, call.user_id


class LockedUsers:
    """The parked calls of each locked user."""

    def __init__(self) -> None:
        self.parked: dict[LockKey, deque[PendingCall]] = {}  # in the order of their turns; read only for others
        self._sizes: Counter[bool] = Counter()  # parked reads and writes
        self._retried: LockKey | None = None  # whose call is in flight
        self._retry_at = 0.0

    def __len__(self) -> int:
        return self._sizes.total()

    def should_reject(self, call: PendingCall) -> bool:
        """Whether too many calls are parked: of the call's user, or of all."""
        key = lock_key(call)
        return self._sizes[key[0]] >= MAX_PARKED or len(self.parked.get(key, ())) >= MAX_QUEUED_PER_LOCKED_USER

    def park(self, call: PendingCall, now: float) -> None:
        """Parks a call that got a lock timeout, or would get one. It becomes the first of its user's parked calls."""
        call.sent = False
        key = lock_key(call)
        self.parked.setdefault(key, deque()).appendleft(call)
        self._sizes[key[0]] += 1
        self._retry_at = now + LOCK_RETRY_SECONDS
        if key == self._retried:
            self._retried = None

    def add(self, call: PendingCall) -> bool:
        """Parks a new call if its user is locked, and returns whether it did."""
        calls = self.parked.get(lock_key(call))
        if calls is None:
            return False
        calls.append(call)
        self._sizes[call.statement.writes] += 1
        return True

    def can_retry(self, now: float, has_room: Callable[[bool], bool]) -> bool:
        """Whether a call may be retried now. `has_room` tells whether one more write, or read, may be sent."""
        return self._retried is None and now >= self._retry_at and any(has_room(writes) for writes, _ in self.parked)

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
                    self.parked[key] = self.parked.pop(key)  # the next retry is of another user
                    self._retried = key
                    return call
        return None

    def finish(self) -> list[PendingCall]:
        """Ends a retry. If it got no lock timeout, returns the other calls of its user, which are no longer parked."""
        if self._retried is None:  # the call, or another one of its user, was parked again
            return []
        calls = self.parked.pop(self._retried, deque())
        self._sizes[self._retried[0]] -= len(calls)
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
            if not remaining and key != self._retried:
                del self.parked[key]
        return expired
