"""Pending calls: each is one execution of a statement, whose caller waits for its row."""

from asyncio import Future
from dataclasses import dataclass

import asyncpg

from todo_service.database.statements import Statement


@dataclass(eq=False, slots=True)
class PendingCall:
    """One execution of a statement. The caller waits for `future`, until `deadline` in the event loop's time."""

    statement: Statement
    user_id: str
    """The owner. Empty for a statement without parameters."""
    args: tuple[object, ...]
    """All arguments. The owner is the first one."""
    future: Future[asyncpg.Record]
    deadline: float
    sent: bool = False
    """Whether PostgreSQL may have received it."""
