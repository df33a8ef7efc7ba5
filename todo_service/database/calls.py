"""Pending calls. Each call is one execution of a statement, and its caller waits for the row."""

from asyncio import Future
from dataclasses import dataclass

import asyncpg

from todo_service.database.statements import Statement


@dataclass(eq=False, slots=True)
class PendingCall:
    """One execution of a statement. The caller waits for `future`, until `deadline` in the event loop's time."""

    statement: Statement
    user_id: str
    """The owner's id. Empty for a statement without parameters."""
    args: tuple[object, ...]
    """All arguments. The first one is the owner's id."""
    future: Future[asyncpg.Record]
    deadline: float
    sent: bool = False
    """Whether PostgreSQL may have received the call."""
