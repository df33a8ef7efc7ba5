"""Pending calls: executions of statements whose callers wait for a row."""

from asyncio import Future
from dataclasses import dataclass

import asyncpg

from todo_service.database.statements import Statement


@dataclass(eq=False, slots=True)
class PendingCall:
    """One execution of a statement. The caller waits for `future`, until `deadline` in the event loop's time."""

    statement: Statement
    args: tuple[object, ...]
    future: Future[asyncpg.Record]
    deadline: float
    sent: bool = False
    """Whether PostgreSQL may have seen it."""

    @property
    def user_id(self) -> object:
        """The first argument. None for a statement without parameters."""
        return self.args[0] if self.args else None
