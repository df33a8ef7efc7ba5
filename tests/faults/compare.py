"""Compares the records of the clients with the rows of the database."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg

from tests.faults.record import KnownTask, Record


@dataclass(frozen=True)
class Findings:
    """One sentence for each error of the service."""

    lost: list[str]
    twice: list[str]
    unrequested: list[str]


async def compare(record: Record, url: str) -> Findings:
    """Finds acknowledged writes that are lost, writes that were applied twice, and writes that no client sent."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT id::text, title, description, completed, revision, deleted_at IS NOT NULL AS deleted FROM tasks"
        )
        users = await connection.fetch(
            "SELECT id, revision - extract(EPOCH FROM created_at)::numeric * 1000000 AS writes FROM users"
        )
    finally:
        await connection.close()
    by_id = {row["id"]: row for row in rows}
    lost = [sentence for task in record.tasks for sentence in _lost(task, by_id.get(task.id))]
    titles = Counter(row["title"] for row in rows if not row["deleted"])
    twice = [f"{title} exists {count} times" for title, count in titles.items() if count > 1]
    known = {task.title for task in record.tasks}
    unrequested = [f"{title} exists, but was refused" for title in titles if title in record.refused_titles]
    unrequested += [
        f"{title} exists, but no client created it" for title in titles if title not in known | record.doubtful_titles
    ]
    unrequested += [
        f"{task.id} has a state that no client wrote"
        for task in record.tasks
        if task.id in by_id and _is_unrequested(task, by_id[task.id])
    ]
    # The first write of a user has an Idempotency-Key. It sets the revision to the time in microseconds. Each later
    # write adds 1.
    for row in users:
        at_least = record.acknowledged[row["id"]]
        writes = int(row["writes"]) + 1
        if writes < at_least:
            lost.append(f"{row['id']}: {writes} writes, but {at_least} acknowledged")
        if writes > at_least + record.doubtful[row["id"]]:
            twice.append(
                f"{row['id']}: {writes} writes, {at_least} acknowledged, {record.doubtful[row['id']]} in doubt"
            )
    return Findings(lost, twice, unrequested)


def _lost(task: KnownTask, row: asyncpg.Record | None) -> Iterator[str]:
    if row is None:
        yield f"{task.title} is missing"
    elif row["revision"] < task.revision:
        yield f"{task.title} has revision {row['revision']}, not {task.revision}"
    elif task.deleted and not row["deleted"]:
        yield f"{task.title} exists, but was deleted"
    elif row["revision"] == task.revision and not task.deleted:
        state = (row["description"], row["completed"], row["deleted"])
        if state != (task.text, task.completed, False):
            yield f"{task.title} is {state}, not {task.text, task.completed}"


def _is_unrequested(task: KnownTask, row: asyncpg.Record) -> bool:
    """Whether the row has changed although no write with an unknown outcome explains that."""
    if row["revision"] == task.revision or task.deleted:
        return False
    if row["deleted"]:
        return not task.maybe_deleted
    return not task.in_doubt or row["description"] not in {task.text, *task.possible_texts}
