"""Synchronisation: a replica made from GET /api/tasks/changes equals the list, also during concurrent writes."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.database import StartService
from tests.support.synchronisation import STATUSES, Round, Simulation, Write
from todo_service.database.batching import Batch, BatchQueue
from todo_service.database.database import Database
from todo_service.database.statements import Statement
from todo_service.settings import Settings

pytestmark = pytest.mark.database

WRITERS = 8

REQUIRED_EVENTS = [
    "more", "deleted", "start over", "compared", "create: 201", "create idempotent: 201", "create idempotent: 200",
    "create idempotent: 410", "create idempotent: 422", "update: 200", "update: 404", "complete: 200",
    "update if match: 412", "delete: 204", "delete: 404", "delete account: 204",
]  # fmt: skip
"""The events that the scripted history must contain."""

KINDS = [kind for kind in STATUSES for _ in range(1 if kind == "delete account" else 6)]
WRITES = st.tuples(st.sampled_from(KINDS), st.integers(0, 99))
ROUNDS = st.builds(
    Round,
    writers=st.lists(st.lists(WRITES, min_size=1, max_size=4), min_size=WRITERS, max_size=WRITERS),
    deletes_account_first=st.sampled_from([False, False, False, True]),
    catches_up=st.booleans(),
)


@pytest.fixture
async def simulation(
    start_service: StartService,
    settings: Settings,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    long_lock_timeout: None,
) -> AsyncIterator[Simulation]:
    observer = await asyncpg.connect(database_url)
    simulation = Simulation(connection, observer, settings)
    run, next_batch = Database.run, BatchQueue.next_batch

    def counted_run(self: Database, statement: Statement, *args: Any) -> Coroutine[Any, Any, asyncpg.Record]:
        simulation.writes += statement.writes
        return run(self, statement, *args)

    def counted_batch(self: BatchQueue) -> Batch | None:
        batch = next_batch(self)
        if batch and batch.statement.writes:
            simulation.batches.append(len(batch.calls))
        return batch

    monkeypatch.setattr(Database, "run", counted_run)
    monkeypatch.setattr(BatchQueue, "next_batch", counted_batch)
    simulation.workers += [(await start_service()).client for _ in range(2)]
    yield simulation
    await observer.close()


# Hypothesis can't shrink a failure: it depends on the order in which requests arrive, and doesn't repeat.
@hypothesis_settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rounds=st.lists(ROUNDS, min_size=2, max_size=4),
    limits=st.lists(st.integers(1, 6), min_size=1, max_size=6),
)
async def test_replicas_equal_the_list_after_random_concurrent_writes(
    simulation: Simulation, rounds: list[Round], limits: list[int]
) -> None:
    events = await simulation.run(rounds, limits)

    for name, times in events.items():
        if times:
            event(name)


def by_all(*writes: Write) -> list[list[Write]]:
    """The same writes for each writer."""
    return [list(writes) for _ in range(WRITERS)]


async def test_replicas_equal_the_list_in_a_history_with_every_event(simulation: Simulation) -> None:
    """The history is scripted, so it always contains deletions, pages, refused writes and deleted accounts."""
    creates = by_all(("create", 1), ("create idempotent", 0), ("create idempotent", 3))
    known = WRITERS + 1 + 2 * len(simulation.workers)  # after two rounds
    deletes = [[("delete", 0), *(("delete", n) for n in range(begin, known, WRITERS))] for begin in range(WRITERS)]
    rounds = [
        Round(creates),
        Round(by_all(("update", 0), ("update if match", 0), ("complete", 1))),
        Round(deletes),
        Round(by_all(("create idempotent", 0), ("update", 0))),
        Round(by_all(("create", 2)), deletes_account_first=True),
        Round(by_all(("delete account", 0), ("create", 0)), catches_up=False),
        Round(by_all(("create", 0), ("create idempotent", 0)), deletes_account_first=True, catches_up=False),
    ]

    events = await simulation.run(rounds, [1])

    assert [name for name in REQUIRED_EVENTS if not events[name]] == []
    assert max(simulation.batches) > 1


async def test_replicas_equal_a_list_that_is_compressed(simulation: Simulation) -> None:
    creates = Round(by_all(*[("create", n) for n in range(5)]))

    events = await simulation.run([creates], [6])

    assert events["compared compressed"]
