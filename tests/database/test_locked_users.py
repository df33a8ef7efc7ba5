"""Locked users: the queue parks their calls, retries them one at a time, and sends the calls of all other users."""

from itertools import chain

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.batch_queues import CREATES, GETS, LISTS, Clock, call, fill, is_rejected, park, take
from todo_service.database import locked_users
from todo_service.database.batching import BatchQueue
from todo_service.database.calls import PendingCall
from todo_service.database.locked_users import (
    LOCK_RETRY_SECONDS,
    MAX_QUEUED_PER_LOCKED_USER,
    RETRY_CUTOFF_SECONDS,
    LockedUsers,
    lock_key,
)
from todo_service.database.statements import Statement

# Parked calls in the batch queue


def test_a_parked_call_is_retried_after_a_pause_while_calls_of_other_users_are_sent() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    [locked] = park(queue, CREATES, "a")
    fill(queue, CREATES, "a")
    others = fill(queue, CREATES, "b", "c")
    assert take(queue, CREATES) == others
    assert queue.next_batch() is None
    assert not queue.is_ready()
    clock.wait_for_retry()
    assert queue.is_ready()
    assert take(queue, CREATES) == [locked]
    assert locked.sent


def test_locked_users_take_turns() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    one, other = park(queue, CREATES, "a", "b")
    for expected in (one, other, one):
        clock.wait_for_retry()
        batch = queue.next_batch()
        assert batch is not None
        assert batch.calls == [expected]
        queue.park(expected)
        queue.finish(batch, 0.1)
        assert not expected.sent
        assert queue.next_batch() is None


def test_a_successful_retry_unparks_the_other_calls_of_its_user() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    first, other = park(queue, CREATES, "a", "b")
    more = fill(queue, CREATES, "a", "a")
    clock.wait_for_retry()
    assert take(queue, CREATES, finish=True) == [first]
    assert take(queue, CREATES, finish=True) == [other]
    assert take(queue, CREATES) == more
    assert not queue


def test_reads_of_a_user_whose_writes_are_parked_are_sent() -> None:
    queue = BatchQueue(4, 32, Clock())
    park(queue, CREATES, "a")
    reads = fill(queue, LISTS, "a")
    assert take(queue, LISTS) == reads


def test_a_parked_call_is_not_retried_shortly_before_its_deadline() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    [locked] = park(queue, CREATES, "a")
    clock.now = locked.deadline - RETRY_CUTOFF_SECONDS
    assert queue.next_batch() is None
    assert queue.remove_expired(clock.now) == []
    assert queue.remove_expired(clock.now + 0.01) == [locked]
    assert not queue


def test_a_retry_skips_parked_calls_that_are_close_to_their_deadlines() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    [locked] = park(queue, CREATES, "a")
    later = call(CREATES, "a", deadline=120)
    queue.add(later)
    clock.now = locked.deadline - RETRY_CUTOFF_SECONDS
    assert take(queue, CREATES, finish=True) == [later]
    assert take(queue, CREATES) == [locked]


def test_cancelled_parked_calls_are_not_retried() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    one, other = park(queue, CREATES, "a", "b")
    one.future.cancel()
    clock.wait_for_retry()
    assert take(queue, CREATES, finish=True) == [other]
    queue.remove_expired(clock.now)
    assert not queue


def test_calls_of_a_locked_user_are_rejected_if_too_many_are_parked() -> None:
    queue = BatchQueue(4, 32, Clock())
    park(queue, CREATES, *"a" * (MAX_QUEUED_PER_LOCKED_USER - 1))
    assert not is_rejected(queue, CREATES)
    fill(queue, CREATES, "a")
    assert is_rejected(queue, CREATES)
    assert not is_rejected(queue, CREATES, "b")
    assert not is_rejected(queue, GETS)


def test_calls_of_locked_users_are_rejected_if_too_many_are_parked_in_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_users, "MAX_PARKED", 10)
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    park(queue, CREATES, *"abcdefghi")
    fill(queue, CREATES, "a")
    assert is_rejected(queue, CREATES, "b")
    assert not is_rejected(queue, CREATES, "z")  # this user is not locked
    assert not is_rejected(queue, GETS, "b")
    clock.wait_for_retry()
    take(queue, CREATES)
    assert not is_rejected(queue, CREATES, "b")


def test_parking_a_call_does_not_end_a_retry_in_flight() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    park(queue, CREATES, "a", "b")
    clock.wait_for_retry()
    retry = queue.next_batch()
    assert retry is not None
    park(queue, CREATES, "a")
    clock.wait_for_retry()
    assert queue.next_batch() is None
    queue.finish(retry, 0.1)
    assert [each.user_id for each in take(queue, CREATES, finish=True)] == ["b"]


def test_parking_more_calls_does_not_postpone_the_retry() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    [first] = park(queue, CREATES, "a")
    clock.now += LOCK_RETRY_SECONDS / 2
    park(queue, CREATES, "b")
    clock.now += LOCK_RETRY_SECONDS / 2
    assert take(queue, CREATES) == [first]


def test_parked_calls_of_a_user_are_retried_in_their_order() -> None:
    clock = Clock()
    queue = BatchQueue(4, 32, clock)
    first, second = park(queue, CREATES, "a", "a")
    clock.wait_for_retry()
    retry = queue.next_batch()
    assert retry is not None
    assert retry.calls == [first]
    queue.park(first)
    queue.finish(retry, 0.1)
    clock.wait_for_retry()
    assert take(queue, CREATES, finish=True) == [first]
    assert take(queue, CREATES) == [second]


def test_only_one_parked_write_at_a_time_is_retried_while_reads_are_in_flight() -> None:
    clock = Clock()
    queue = BatchQueue(2, 32, clock)
    locked, _ = park(queue, CREATES, "a", "b")
    fill(queue, LISTS, "b")
    take(queue, LISTS)
    clock.wait_for_retry()
    assert take(queue, CREATES) == [locked]
    clock.wait_for_retry()
    assert queue.next_batch() is None


# Random sequences of events


class LockedUsersMachine(RuleBasedStateMachine):
    """Random events of locked users: each call is parked or retried, never both, and the sizes are correct."""

    @initialize()
    def begin(self) -> None:
        self.users = LockedUsers()
        self.now = 0.0
        self.retried: PendingCall | None = None
        self.parked: set[PendingCall] = set()

    @rule(
        statement=st.sampled_from([LISTS, CREATES]), user=st.sampled_from("abc"), seconds_left=st.sampled_from([1, 60])
    )
    def park_call(self, statement: Statement, user: str, seconds_left: int) -> None:
        blocked = call(statement, user, self.now + seconds_left)
        self.users.park(blocked, self.now)
        self.parked.add(blocked)

    @rule(statement=st.sampled_from([LISTS, CREATES]), user=st.sampled_from("abc"))
    def add_call(self, statement: Statement, user: str) -> None:
        new = call(statement, user, self.now + 60)
        is_locked = any(lock_key(each) == lock_key(new) for each in self.parked)
        is_locked |= self.retried is not None and lock_key(self.retried) == lock_key(new)
        assert self.users.add(new) or not is_locked
        if new in chain.from_iterable(self.users.parked.values()):
            self.parked.add(new)

    @rule(seconds=st.sampled_from([0.01, LOCK_RETRY_SECONDS, 1, 60]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if parked := list(chain.from_iterable(self.users.parked.values())):
            data.draw(st.sampled_from(parked)).future.cancel()

    @rule(writes=st.booleans())
    def retry(self, writes: bool) -> None:
        retried = self.users.next_call(self.now, lambda kind: kind is writes)
        if retried is None:
            return
        assert self.retried is None
        assert retried.statement.writes is writes
        assert not retried.future.done()
        self.parked.remove(retried)
        self.retried = retried

    @precondition(lambda self: self.retried)
    @rule(is_locked=st.booleans())
    def end_retry(self, is_locked: bool) -> None:
        retried, self.retried = self.retried, None
        assert retried is not None
        if is_locked:
            self.users.park(retried, self.now)
            self.parked.add(retried)
        released = self.users.finish(retried)
        assert not (released and is_locked)
        assert set(released) <= self.parked
        assert all(lock_key(each) == lock_key(retried) for each in released)
        self.parked -= set(released)

    @rule()
    def expire(self) -> None:
        expired = self.users.remove_expired(self.now)
        assert all(each.deadline < self.now + RETRY_CUTOFF_SECONDS for each in expired)
        left = set(chain.from_iterable(self.users.parked.values()))
        assert all(each in expired or each.future.done() for each in self.parked - left)
        self.parked = left

    @invariant()
    def every_call_is_either_parked_or_retried(self) -> None:
        if not hasattr(self, "users"):
            return
        parked = list(chain.from_iterable(self.users.parked.values()))
        assert len(parked) == len(set(parked)) == len(self.users)
        assert set(parked) == self.parked
        assert self.retried not in self.parked


TestRandomEvents = LockedUsersMachine.TestCase
