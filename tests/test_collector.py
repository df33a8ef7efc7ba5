"""The collector by itself: whatever is put in comes out once, in turn, in batches that are safe to send."""

from asyncio import Future, new_event_loop
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from todo_service.database.collector import (
    BATCH_SECONDS,
    ENOUGH_CALLS,
    FEW_CALLS,
    LAST_TRY,
    MOST_CALLS,
    MOST_LOCKED_CALLS,
    UNDIVIDED_CALLS,
    Batch,
    Call,
    Collector,
)
from todo_service.database.statements import Statement

LISTS, GETS = [Statement(f"test/{name}", "SELECT", writes=False) for name in ("lists", "gets")]
CREATES = Statement("test/creates", "INSERT", writes=True)
STATEMENTS = [LISTS, GETS, CREATES]

loop = new_event_loop()


@pytest.fixture(autouse=True, scope="module")
def close_loop() -> Iterator[None]:
    yield
    loop.close()


def call(*args: object) -> Call:
    return Call(args, Future(loop=loop), deadline=0)


def fill(collector: Collector, statement: Statement, *users: str) -> list[Call]:
    calls = [call(user) for user in users]
    for each in calls:
        collector.add(statement, each)
    return calls


def take(collector: Collector, statement: Statement, *, finish: bool = False) -> list[Call]:
    """The calls of the next batch, which must be one of this statement."""
    batch = collector.take()
    assert batch is not None
    assert batch.statement is statement
    if finish:
        collector.finish(batch, 0)
    return batch.calls


def test_nothing_gives_no_batch() -> None:
    assert Collector(4, 32).take() is None


def test_calls_of_one_statement_are_one_batch_in_the_order_of_their_users() -> None:
    collector = Collector(4, 32)
    bob, alice, bob_again = fill(collector, GETS, "bob", "alice", "bob")
    assert take(collector, GETS) == [alice, bob, bob_again]
    assert not collector


def test_a_batch_has_no_more_than_its_size_and_first_come_is_first_served() -> None:
    collector = Collector(4, 2)
    calls = fill(collector, GETS, "c", "b", "a")
    assert take(collector, GETS) == [calls[1], calls[0]]
    assert take(collector, GETS) == [calls[2]]


def test_what_may_take_long_shares_no_batch() -> None:
    collector = Collector(4, 32)
    searches = Statement("test/searches", "SELECT", writes=False, alone=True)
    one, other = fill(collector, searches, "a", "b")
    list_ = fill(collector, LISTS, "c")
    assert take(collector, searches) == [one]
    assert take(collector, LISTS) == list_
    assert take(collector, searches) == [other]


def test_what_comes_while_enough_is_under_way_waits_for_its_answer() -> None:
    collector = Collector(4, 32)
    fill(collector, GETS, *"a" * (ENOUGH_CALLS - 1))
    take(collector, GETS)
    fill(collector, LISTS, "b")
    assert collector.is_ready()
    lists = collector.take()
    assert lists is not None
    waiting = fill(collector, GETS, "c")
    assert not collector.is_ready()
    assert collector.take() is None
    fill(collector, CREATES, "d")  # of writes, none is under way
    assert collector.is_ready()
    take(collector, CREATES)
    collector.finish(lists, 0)
    assert take(collector, GETS) == waiting


def test_of_many_calls_half_are_left_for_later() -> None:
    collector = Collector(1, 32)
    fill(collector, GETS, *"a" * 100)
    sizes = [len(take(collector, GETS, finish=True)) for _ in range(5)]
    assert sizes == [32, 32, 18, UNDIVIDED_CALLS, 2]


def test_nothing_waits_for_what_is_slow() -> None:
    collector = Collector(4, 32)
    fill(collector, GETS, *"a" * ENOUGH_CALLS)
    slow = collector.take()
    assert slow is not None
    fill(collector, GETS, "b")
    assert collector.take() is None
    slow.slow = True
    assert collector.is_ready()
    take(collector, GETS)


def test_a_batch_is_as_large_as_the_time_allows_that_its_statement_took() -> None:
    collector = Collector(1, 32)

    def size_after(calls: int, seconds: float) -> int:
        fill(collector, GETS, *"a" * calls)
        batch = collector.take()
        assert batch is not None
        collector.finish(batch, seconds)
        fill(collector, GETS, *"a" * 64)
        fill(collector, LISTS, *"a" * 64)
        size = len(take(collector, GETS, finish=True))
        assert len(take(collector, LISTS, finish=True)) == 32
        collector.take_all()
        return size

    assert size_after(1, 0) == 32
    assert size_after(10, BATCH_SECONDS) == 10
    assert size_after(10, BATCH_SECONDS * 2) == 5
    assert size_after(1, 10) == 1
    assert size_after(1, BATCH_SECONDS / 100) == 32


def test_what_is_overdue_is_known_before_and_after_it_was_sent() -> None:
    collector = Collector(4, 1)
    calls = fill(collector, GETS, "a", "b") + fill(collector, LISTS, "c")
    calls[2].deadline = 10
    batch = collector.take()
    assert batch is not None
    assert batch.calls == calls[:1]
    assert collector.overdue(10) == [(LISTS, []), (GETS, [calls[1]]), (GETS, [calls[0]])]
    assert [each.sent for each in calls] == [True, False, False]
    assert collector.overdue(11) == [(LISTS, [calls[2]]), (GETS, [calls[1]]), (GETS, [calls[0]])]
    collector.finish(batch, 0)
    assert len(collector.overdue(11)) == 2


def test_statements_take_turns() -> None:
    collector = Collector(4, 1)
    fill(collector, LISTS, "a", "b", "c")
    fill(collector, CREATES, "a", "b")
    for statement in (LISTS, CREATES, LISTS, CREATES, LISTS):
        take(collector, statement, finish=True)


def test_reads_leave_a_connection_to_writes() -> None:
    collector = Collector(3, 1)
    fill(collector, LISTS, *"abcd")
    fill(collector, GETS, *"abcd")
    first = collector.take()
    assert first is not None
    take(collector, GETS)
    assert collector.take() is None
    [create] = fill(collector, CREATES, "a")
    assert take(collector, CREATES) == [create]
    collector.finish(first, 0)
    take(collector, LISTS)


def test_the_only_connection_serves_every_statement() -> None:
    collector = Collector(1, 1)
    fill(collector, LISTS, "a")
    take(collector, LISTS)


def test_calls_that_want_no_answer_any_more_are_not_sent() -> None:
    collector = Collector(4, 2)
    calls = fill(collector, GETS, *"abcd")
    fill(collector, LISTS, "a")[0].answer.cancel()
    calls[0].answer.cancel()
    calls[1].answer.set_exception(TimeoutError())
    calls[1].answer.exception()
    assert take(collector, GETS) == calls[2:]
    assert collector.take() is None
    assert not calls[0].sent


def test_calls_that_want_no_answer_any_more_make_room() -> None:
    collector = Collector(4, 2)
    calls = fill(collector, GETS, *"abcd")
    calls[1].answer.cancel()
    assert collector.waiting(GETS) == 4
    collector.forget_answered()
    assert (collector.waiting(GETS), collector.waiting(LISTS), collector.waiting(CREATES)) == (3, 0, 0)
    assert take(collector, GETS) == [calls[0], calls[2]]


@pytest.mark.parametrize(("seconds_per_batch", "most"), [(0.001, 25_000), (0.1, 250), (10, FEW_CALLS)])
def test_as_many_may_wait_as_are_sent_in_the_time_for_it(seconds_per_batch: float, most: int) -> None:
    now = 0.0
    collector = Collector(1, 10, lambda: now)
    fill(collector, GETS, *"a" * 50)
    assert not collector.is_too_long(25_000, GETS, ("a",), 2.5)  # nothing is known yet
    for _ in range(4):
        take(collector, GETS, finish=True)
        now += seconds_per_batch
    assert not collector.is_too_long(most - 1, GETS, ("a",), 2.5)
    assert collector.is_too_long(most + 1, GETS, ("a",), 2.5)


def test_no_more_may_wait_than_there_is_memory_for() -> None:
    collector = Collector(1, 10)
    fill(collector, GETS, *"a" * (MOST_CALLS - 1))
    assert not collector.is_too_long(MOST_CALLS - 1, GETS, ("a",), 2.5)
    fill(collector, LISTS, "a")
    assert collector.is_too_long(MOST_CALLS - 1, GETS, ("a",), 2.5)
    assert not collector.is_too_long(1, LISTS, ("a",), 2.5)


def test_time_in_which_nothing_waited_says_nothing_of_the_pace() -> None:
    now = 0.0
    collector = Collector(1, 32, lambda: now)
    for _ in range(3):
        fill(collector, GETS, "a")
        take(collector, GETS, finish=True)
        now += 60
    assert not collector.is_too_long(1000, GETS, ("a",), 2.5)


def aside(collector: Collector, statement: Statement, *users: str) -> list[Call]:
    """Calls that met a lock."""
    calls = [Call((user,), Future(loop=loop), deadline=60) for user in users]
    for each in calls:
        collector.set_aside(statement, each)
    return calls


def test_who_met_a_lock_is_tried_alone_while_others_go_on() -> None:
    collector = Collector(4, 32, lambda: 0)
    [locked] = aside(collector, CREATES, "a")
    fill(collector, CREATES, "a")
    others = fill(collector, CREATES, "b", "c")
    assert take(collector, CREATES) == others
    assert collector.take() is None
    collector.try_again()
    assert take(collector, CREATES) == [locked]
    assert locked.sent


def test_users_who_are_locked_take_turns() -> None:
    collector = Collector(4, 32, lambda: 0)
    one, other = aside(collector, CREATES, "a", "b")
    for expected in (one, other, one):
        collector.try_again()
        batch = collector.take()
        assert batch is not None
        assert batch.calls == [expected]
        collector.set_aside(CREATES, expected)
        collector.finish(batch, 0.1)
        assert not expected.sent
        assert collector.take() is None


def test_once_the_lock_is_gone_all_of_its_user_wait_as_usual_and_the_next_user_is_tried() -> None:
    collector = Collector(4, 32, lambda: 0)
    first, other = aside(collector, CREATES, "a", "b")
    more = fill(collector, CREATES, "a", "a")
    collector.try_again()
    assert take(collector, CREATES, finish=True) == [first]
    assert take(collector, CREATES, finish=True) == [other]
    assert take(collector, CREATES) == more


def test_reads_are_not_set_aside_because_writes_are() -> None:
    collector = Collector(4, 32, lambda: 0)
    aside(collector, CREATES, "a")
    reads = fill(collector, LISTS, "a")
    assert take(collector, LISTS) == reads


def test_shortly_before_its_deadline_a_call_that_met_a_lock_is_refused_rather_than_sent() -> None:
    now = 0.0
    collector = Collector(4, 32, lambda: now)
    [locked] = aside(collector, CREATES, "a")
    collector.try_again()
    now = locked.deadline - LAST_TRY
    assert collector.take() is None
    assert collector.overdue(now + 0.01) == [(CREATES, [locked])]
    locked.answer.cancel()
    collector.forget_answered()
    assert not collector


def test_an_absence_says_nothing_of_the_pace() -> None:
    now = 0.0
    collector = Collector(1, 32, lambda: now)
    fill(collector, GETS, *"a" * 64)
    take(collector, GETS, finish=True)
    collector.take_all()
    now = 60
    for _ in range(10):
        fill(collector, GETS, *"a" * (FEW_CALLS - collector.waiting(GETS)))
        take(collector, GETS, finish=True)
        now += 0.005
    assert not collector.is_too_long(1000, GETS, ("a",), 2.5)


def test_a_pace_that_was_slow_is_known_anew_from_few_calls() -> None:
    now = 0.0
    collector = Collector(1, 32, lambda: now)
    for seconds in [60, *[0.005] * 200]:
        fill(collector, GETS, *"a" * (FEW_CALLS - collector.waiting(GETS)))
        take(collector, GETS, finish=True)
        now += seconds
    assert not collector.is_too_long(1000, GETS, ("a",), 2.5)


def test_so_many_calls_of_one_user_may_wait_for_a_lock_and_others_of_others() -> None:
    collector = Collector(4, 32, lambda: 0)
    aside(collector, CREATES, *"a" * (MOST_LOCKED_CALLS - 1))
    assert not collector.is_too_long(0, CREATES, ("a",), 2.5)
    fill(collector, CREATES, "a")
    assert collector.is_too_long(0, CREATES, ("a", "title"), 2.5)
    assert not collector.is_too_long(0, CREATES, ("b",), 2.5)
    assert not collector.is_too_long(0, GETS, ("a",), 2.5)


def test_who_met_a_lock_gets_a_turn_while_the_other_kind_is_busy() -> None:
    collector = Collector(2, 32, lambda: 0)
    [locked] = aside(collector, CREATES, "a")
    fill(collector, LISTS, "b")
    take(collector, LISTS)
    collector.try_again()
    assert take(collector, CREATES) == [locked]
    collector.try_again()
    assert collector.take() is None  # one at a time


def test_all_can_be_taken_at_once() -> None:
    collector = Collector(1, 1)
    gets, lists = fill(collector, GETS, "b", "a"), fill(collector, LISTS, "c")
    assert collector.take_all() == [(GETS, gets), (LISTS, lists)]
    assert collector.take_all() == []
    assert not collector


@given(st.permutations(["", "\0", "0", "Z", "a", "é", "'", '"', "\\", "\U0001f9b4"]), st.data())
def test_two_batches_lock_the_users_they_share_in_the_same_order(users: list[str], data: st.DataObject) -> None:
    batches = []
    for order in (users, data.draw(st.permutations(users))):
        collector = Collector(4, 32)
        fill(collector, CREATES, *order)
        batches.append([each.args for each in take(collector, CREATES)])
    assert batches[0] == batches[1]


class Life(RuleBasedStateMachine):
    """Anything that may happen to a collector, in any order, beside a list of what must come out of it."""

    @initialize(connections=st.integers(1, 5), batch_size=st.integers(1, 20))
    def begin(self, connections: int, batch_size: int) -> None:
        self.connections, self.batch_size = connections, batch_size
        self.collector = Collector(connections, batch_size)
        self.expected: dict[Statement, list[Call]] = {statement: [] for statement in STATEMENTS}
        self.under_way: list[Batch] = []
        self.passed_over: Counter[Statement] = Counter()

    @rule(statement=st.sampled_from(STATEMENTS), user=st.sampled_from("abcd"))
    def add(self, statement: Statement, user: str) -> None:
        self.expected[statement] += fill(self.collector, statement, user)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        if waiting := [each for calls in self.expected.values() for each in calls]:
            data.draw(st.sampled_from(waiting)).answer.cancel()

    def may_send(self, statement: Statement) -> bool:
        alike = [batch for batch in self.under_way if batch.statement.writes is statement.writes]
        calls = [each for batch in alike if not batch.slow for each in batch.calls]
        return len(alike) < max(self.connections - 1, 1) and len(calls) < ENOUGH_CALLS

    @rule()
    def take(self) -> None:
        wanted = {each: [c for c in self.expected[each] if not c.answer.done()] for each in STATEMENTS}
        ready = {each for each in STATEMENTS if wanted[each] and self.may_send(each)}
        assert self.collector.is_ready() or not ready
        batch = self.collector.take()
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
        self.under_way.append(batch)
        self.passed_over = Counter({each: self.passed_over[each] + 1 for each in ready - {batch.statement}})
        assert all(count < len(STATEMENTS) for count in self.passed_over.values())

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def grow_slow(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.under_way)).slow = True

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), seconds=st.sampled_from([0, 0.02, 0.2, 20]))
    def finish(self, data: st.DataObject, seconds: float) -> None:
        batch = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.collector.finish(batch, seconds)

    @invariant()
    def counts_what_waits(self) -> None:
        waiting = [each for calls in self.expected.values() for each in calls if not each.answer.done()]
        # more, until those that gave up are met
        assert sum(self.collector.waiting(each) for each in STATEMENTS) >= len(waiting)

    def teardown(self) -> None:
        while any(not each.answer.done() for calls in self.expected.values() for each in calls) or self.under_way:
            self.take()
            self.collector.finish(self.under_way.pop(), 0)
        assert self.collector.take() is None
        assert not self.collector


TestLife = Life.TestCase
