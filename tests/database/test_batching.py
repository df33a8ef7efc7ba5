"""Batching: waiting calls are sent in turn, each once, in batches that can't deadlock."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.batch_queues import CREATES, GETS, LISTS, STATEMENTS, call, fill, queued, take
from todo_service.database.batching import MAX_IN_FLIGHT, SPLIT_ABOVE, TARGET_BATCH_SECONDS, Batch, BatchQueue
from todo_service.database.calls import PendingCall
from todo_service.database.statements import Statement

# Batches


def test_calls_of_one_statement_share_a_batch_sorted_by_user() -> None:
    queue = BatchQueue(4, 32)
    bob, alice, bob_again = fill(queue, GETS, "bob", "alice", "bob")
    assert take(queue, GETS) == [alice, bob, bob_again]
    assert not queue


def test_a_batch_takes_the_oldest_calls_up_to_its_size() -> None:
    queue = BatchQueue(4, 2)
    calls = fill(queue, GETS, "c", "b", "a")
    assert take(queue, GETS) == [calls[1], calls[0]]
    assert take(queue, GETS) == [calls[2]]


def test_a_batch_of_an_unbatched_statement_has_one_call() -> None:
    queue = BatchQueue(4, 32)
    searches = Statement("test/searches", "SELECT", writes=False, unbatched=True)
    one, other = fill(queue, searches, "a", "b")
    list_ = fill(queue, LISTS, "c")
    assert take(queue, searches) == [one]
    assert take(queue, LISTS) == list_
    assert take(queue, searches) == [other]


def test_a_batch_takes_at_most_half_of_a_long_queue() -> None:
    queue = BatchQueue(1, 32)
    fill(queue, GETS, *"a" * 100)
    sizes = [len(take(queue, GETS, finish=True)) for _ in range(5)]
    assert sizes == [32, 32, 18, SPLIT_ABOVE, 2]


def test_the_batch_size_follows_the_duration_of_the_last_batch() -> None:
    queue = BatchQueue(1, 32)

    def size_after(calls: int, seconds: float) -> int:
        fill(queue, GETS, *"a" * calls)
        batch = queue.next_batch()
        assert batch is not None
        queue.finish(batch, seconds)
        fill(queue, GETS, *"a" * 64)
        fill(queue, LISTS, *"a" * 64)
        size = len(take(queue, GETS, finish=True))
        assert len(take(queue, LISTS, finish=True)) == 32
        queue.clear()
        return size

    assert size_after(1, 0) == 32
    assert size_after(10, TARGET_BATCH_SECONDS) == 10
    assert size_after(10, TARGET_BATCH_SECONDS * 2) == 5
    assert size_after(1, 10) == 1
    assert size_after(1, TARGET_BATCH_SECONDS / 100) == 32


@given(st.permutations(["", "\0", "0", "Z", "a", "é", "'", '"', "\\", "\U0001f9b4"]), st.data())
def test_all_batches_have_their_users_in_the_same_order(users: list[str], data: st.DataObject) -> None:
    batches = []
    for order in (users, data.draw(st.permutations(users))):
        queue = BatchQueue(4, 32)
        fill(queue, CREATES, *order)
        batches.append([each.args for each in take(queue, CREATES)])
    assert batches[0] == batches[1]


# Turns and limits


def test_statements_take_turns() -> None:
    queue = BatchQueue(4, 1)
    fill(queue, LISTS, "a", "b", "c")
    fill(queue, CREATES, "a", "b")
    for statement in (LISTS, CREATES, LISTS, CREATES, LISTS):
        take(queue, statement, finish=True)


def test_reads_leave_a_connection_free_for_writes() -> None:
    queue = BatchQueue(3, 1)
    fill(queue, LISTS, *"abcd")
    fill(queue, GETS, *"abcd")
    first = queue.next_batch()
    assert first is not None
    take(queue, GETS)
    assert queue.next_batch() is None
    [create] = fill(queue, CREATES, "a")
    assert take(queue, CREATES) == [create]
    queue.finish(first, 0)
    take(queue, LISTS)


def test_reads_wait_while_the_maximum_of_reads_is_in_flight() -> None:
    queue = BatchQueue(4, 32)
    fill(queue, GETS, *"a" * (MAX_IN_FLIGHT - 1))
    take(queue, GETS)
    fill(queue, LISTS, "b")
    assert queue.is_ready()
    lists = queue.next_batch()
    assert lists is not None
    waiting = fill(queue, GETS, "c")
    assert not queue.is_ready()
    assert queue.next_batch() is None
    fill(queue, CREATES, "d")  # no write is in flight
    assert queue.is_ready()
    take(queue, CREATES)
    queue.finish(lists, 0)
    assert take(queue, GETS) == waiting


def test_calls_do_not_wait_for_a_slow_batch() -> None:
    queue = BatchQueue(4, 32)
    fill(queue, GETS, *"a" * MAX_IN_FLIGHT)
    slow = queue.next_batch()
    assert slow is not None
    fill(queue, GETS, "b")
    assert queue.next_batch() is None
    slow.is_slow = True
    assert queue.is_ready()
    take(queue, GETS)


# Removal


def test_waiting_and_sent_calls_expire_at_their_deadlines() -> None:
    queue = BatchQueue(4, 1)
    sent, waiting, later = call(GETS, "a", 9), call(GETS, "b", 9), call(LISTS, "c", 10)
    for each in (sent, waiting, later):
        queue.add(each)
    batch = queue.next_batch()
    assert batch is not None
    assert batch.calls == [sent]
    assert queue.remove_expired(9) == []
    assert queue.remove_expired(10) == [sent, waiting]
    assert [each.sent for each in (sent, waiting, later)] == [True, False, False]
    assert queue.remove_expired(11) == [sent, later]
    queue.finish(batch, 0)
    assert queue.remove_expired(11) == []
    assert not queue


def test_cancelled_and_failed_calls_are_not_sent() -> None:
    queue = BatchQueue(4, 2)
    calls = fill(queue, GETS, *"abcd")
    fill(queue, LISTS, "a")[0].future.cancel()
    calls[0].future.cancel()
    calls[1].future.set_exception(TimeoutError())
    calls[1].future.exception()
    assert take(queue, GETS) == calls[2:]
    assert queue.next_batch() is None
    assert not calls[0].sent


def test_removing_expired_calls_also_removes_cancelled_calls() -> None:
    queue = BatchQueue(4, 2)
    calls = fill(queue, GETS, *"abcd")
    calls[1].future.cancel()
    assert queued(queue, GETS) == 4
    assert queue.remove_expired(0) == []
    assert (queued(queue, GETS), queued(queue, LISTS), queued(queue, CREATES)) == (3, 0, 0)
    assert take(queue, GETS) == [calls[0], calls[2]]


def test_clearing_the_queue_returns_all_waiting_calls() -> None:
    queue = BatchQueue(1, 1)
    gets, lists = fill(queue, GETS, "b", "a"), fill(queue, LISTS, "c")
    assert queue.clear() == [*gets, *lists]
    assert queue.clear() == []
    assert not queue


# Random sequences of events


class QueueMachine(RuleBasedStateMachine):
    """Compares a queue, after random events, with a simple model of the calls that it must return."""

    @initialize(connections=st.integers(1, 5), batch_size=st.integers(1, 20))
    def begin(self, connections: int, batch_size: int) -> None:
        self.connections, self.batch_size = connections, batch_size
        self.queue = BatchQueue(connections, batch_size)
        self.expected: dict[Statement, list[PendingCall]] = {statement: [] for statement in STATEMENTS}
        self.in_flight: list[Batch] = []
        self.passed_over: Counter[Statement] = Counter()

    @rule(statement=st.sampled_from(STATEMENTS), user=st.sampled_from("abcd"))
    def add(self, statement: Statement, user: str) -> None:
        self.expected[statement] += fill(self.queue, statement, user)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if waiting := [each for calls in self.expected.values() for each in calls]:
            data.draw(st.sampled_from(waiting)).future.cancel()

    def may_send(self, statement: Statement) -> bool:
        alike = [batch for batch in self.in_flight if batch.statement.writes is statement.writes]
        calls = [each for batch in alike if not batch.is_slow for each in batch.calls]
        return len(alike) < max(self.connections - 1, 1) and len(calls) < MAX_IN_FLIGHT

    @rule()
    def take(self) -> None:
        wanted = {each: [c for c in self.expected[each] if not c.future.done()] for each in STATEMENTS}
        ready = {each for each in STATEMENTS if wanted[each] and self.may_send(each)}
        assert self.queue.is_ready() or not ready
        batch = self.queue.next_batch()
        if batch is None:
            assert not ready
            self.passed_over.clear()
            return
        assert batch.statement in ready
        assert 1 <= len(batch.calls) <= self.batch_size
        left = wanted[batch.statement]
        assert set(batch.calls) == set(left[: len(batch.calls)])
        users = [str(each.args[0]) for each in batch.calls]
        assert users == sorted(users)
        self.expected[batch.statement] = left[len(batch.calls) :]
        self.in_flight.append(batch)
        self.passed_over = Counter({each: self.passed_over[each] + 1 for each in ready - {batch.statement}})
        assert all(count < len(STATEMENTS) for count in self.passed_over.values())

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def mark_slow(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.in_flight)).is_slow = True

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), seconds=st.sampled_from([0, 0.02, 0.2, 20]))
    def finish(self, data: st.DataObject, seconds: float) -> None:
        batch = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        self.queue.finish(batch, seconds)

    @invariant()
    def length_counts_all_waiting_calls(self) -> None:
        waiting = [each for calls in self.expected.values() for each in calls if not each.future.done()]
        assert len(self.queue) >= len(waiting)  # the queue may also count cancelled calls

    def teardown(self) -> None:
        while any(not each.future.done() for calls in self.expected.values() for each in calls) or self.in_flight:
            self.take()
            self.queue.finish(self.in_flight.pop(), 0)
        assert self.queue.next_batch() is None
        assert not self.queue


TestRandomEvents = QueueMachine.TestCase
