"""The collector by itself: whatever is put in comes out once, in turn, in batches that are safe to send."""

from asyncio import Future, new_event_loop
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from todo_service.collector import WORTH_A_ROUND_TRIP, Call, Collector
from todo_service.statements import Statement

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


def test_nothing_gives_no_batch() -> None:
    assert Collector(4, 32).take(1) is None


def test_calls_of_one_statement_are_one_batch_in_the_order_of_their_users() -> None:
    collector = Collector(4, 32)
    bob, alice, bob_again = fill(collector, GETS, "bob", "alice", "bob")
    assert collector.take(1) == (GETS, [alice, bob, bob_again])
    assert not collector


def test_a_batch_has_no_more_than_its_size_and_first_come_is_first_served() -> None:
    collector = Collector(4, 2)
    calls = fill(collector, GETS, "c", "b", "a")
    assert collector.take(1) == (GETS, [calls[1], calls[0]])
    assert collector.take(1) == (GETS, [calls[2]])


def test_free_connections_share_what_waits_unless_it_is_little() -> None:
    collector = Collector(8, 32)
    fill(collector, GETS, *"abcdefghijklmnopqrstuvwxyz" * 2)
    sizes = [len(batch[1]) for free in (4, 3, 2, 1) if (batch := collector.take(free))]
    assert sizes == [13, 13, 13, 13]
    fill(collector, GETS, *"abcdefghijkl")
    sizes = [len(batch[1]) for free in (3, 2, 1) if (batch := collector.take(free))]
    assert sizes == [WORTH_A_ROUND_TRIP, 2]


def test_what_is_overdue_is_known_before_and_after_it_was_sent() -> None:
    collector = Collector(4, 1)
    calls = fill(collector, GETS, "a", "b") + fill(collector, LISTS, "c")
    calls[2].deadline = 10
    batch = collector.take(1)
    assert batch == (GETS, calls[:1])
    assert [call for _, call in collector.overdue(10)] == [calls[1], calls[0]]
    assert [each.sent for each in calls] == [True, False, False]
    assert len(collector.overdue(11)) == 3
    collector.finish(*batch)
    assert len(collector.overdue(11)) == 2


def test_statements_take_turns() -> None:
    collector = Collector(4, 1)
    fill(collector, LISTS, "a", "b", "c")
    fill(collector, CREATES, "a", "b")
    turns = []
    while batch := collector.take(1):
        turns.append(batch[0])
        collector.finish(*batch)
    assert turns == [LISTS, CREATES, LISTS, CREATES, LISTS]


def test_reads_leave_a_connection_to_writes() -> None:
    collector = Collector(3, 1)
    fill(collector, LISTS, *"abcd")
    fill(collector, GETS, *"abcd")
    first = collector.take(1)
    assert first is not None
    assert collector.take(1) is not None
    assert collector.take(1) is None
    [create] = fill(collector, CREATES, "a")
    assert collector.take(1) == (CREATES, [create])
    collector.finish(*first)
    batch = collector.take(1)
    assert batch is not None
    assert batch[0] is LISTS


def test_the_only_connection_serves_every_statement() -> None:
    collector = Collector(1, 1)
    fill(collector, LISTS, "a")
    assert collector.take(1) is not None


def test_calls_that_want_no_answer_any_more_are_not_sent() -> None:
    collector = Collector(4, 2)
    calls = fill(collector, GETS, *"abcd")
    fill(collector, LISTS, "a")[0].answer.cancel()
    calls[0].answer.cancel()
    calls[1].answer.set_exception(TimeoutError())
    calls[1].answer.exception()
    assert collector.take(1) == (GETS, calls[2:])
    assert collector.take(1) is None
    assert not calls[0].sent


def test_calls_that_want_no_answer_any_more_make_room() -> None:
    collector = Collector(4, 2)
    calls = fill(collector, GETS, *"abcd")
    calls[1].answer.cancel()
    assert collector.waiting(GETS) == 4
    collector.forget_answered()
    assert (collector.waiting(GETS), collector.waiting(LISTS), collector.waiting(CREATES)) == (3, 0, 0)
    assert collector.take(1) == (GETS, [calls[0], calls[2]])


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
        batch = collector.take(1)
        assert batch is not None
        batches.append([each.args for each in batch[1]])
    assert batches[0] == batches[1]


class Life(RuleBasedStateMachine):
    """Anything that may happen to a collector, in any order, beside a list of what must come out of it."""

    @initialize(connections=st.integers(1, 5), batch_size=st.integers(1, 20))
    def begin(self, connections: int, batch_size: int) -> None:
        self.connections, self.batch_size = connections, batch_size
        self.collector = Collector(connections, batch_size)
        self.expected: dict[Statement, list[Call]] = {statement: [] for statement in STATEMENTS}
        self.in_flight: list[tuple[Statement, list[Call]]] = []
        self.passed_over: Counter[Statement] = Counter()

    @rule(statement=st.sampled_from(STATEMENTS), user=st.sampled_from("abcd"))
    def add(self, statement: Statement, user: str) -> None:
        self.expected[statement] += fill(self.collector, statement, user)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        if waiting := [each for calls in self.expected.values() for each in calls]:
            data.draw(st.sampled_from(waiting)).answer.cancel()

    @precondition(lambda self: len(self.in_flight) < self.connections)
    @rule(free=st.integers(1, 5))
    def take(self, free: int) -> None:
        wanted = {each: [c for c in self.expected[each] if not c.answer.done()] for each in STATEMENTS}
        share = max(self.connections - 1, 1)
        ready = {
            each
            for each in STATEMENTS
            if wanted[each] and sum(each.writes is sent.writes for sent, _ in self.in_flight) < share
        }
        batch = self.collector.take(free)
        if batch is None:
            assert not ready
            return
        statement, calls = batch
        assert statement in ready
        assert 1 <= len(calls) <= self.batch_size
        assert set(calls) == set(wanted[statement][: len(calls)])
        users = [str(each.args[0]) for each in calls]
        assert users == sorted(users)
        self.expected[statement] = wanted[statement][len(calls) :]
        self.in_flight.append(batch)
        self.passed_over = Counter({each: self.passed_over[each] + 1 for each in ready - {statement}})
        assert all(count < len(STATEMENTS) for count in self.passed_over.values())

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        batch = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        self.collector.finish(*batch)

    @invariant()
    def counts_what_waits(self) -> None:
        waiting = [each for calls in self.expected.values() for each in calls if not each.answer.done()]
        assert sum(self.collector.waiting(each) for each in STATEMENTS) >= len(
            waiting
        )  # more, until those that gave up are met

    def teardown(self) -> None:
        for batch in self.in_flight:
            self.collector.finish(*batch)
        self.in_flight.clear()
        while any(not each.answer.done() for calls in self.expected.values() for each in calls):
            self.take(1)
            self.collector.finish(*self.in_flight.pop())
        assert self.collector.take(1) is None
        assert not self.collector


TestLife = Life.TestCase
