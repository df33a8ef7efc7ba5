"""What became of a statement that failed: rolled back, or perhaps applied. Decides what its callers are told."""

from typing import TypeGuard

import asyncpg

from todo_service.errors import RETRY_AFTER, Problem
from todo_service.statements import Statement

# SQLSTATEs after which PostgreSQL has certainly rolled back: the request can be repeated as it is.
# 25006 read only (a failover is under way), 40001 and 40P01 serialization and deadlock, 53 resources, 55P03 lock
# timeout, 57014 statement timeout, 57P03 still starting, 58 input or output fails; 42P01 and 42703 table or column
# missing: not migrated yet; 42501 no right to it: sql/roles.sql was not run since; 25P03 we were too slow within a
# transaction.
ROLLED_BACK = ("25006", "25P03", "40001", "40P01", "42501", "42P01", "42703", "53", "55P03", "57014", "57P03", "58")

# SQLSTATEs of a connection that ended, perhaps after the commit: 08 connection, 57P01, 57P02 and 57P05 shutdowns.
DISCONNECTED = ("08", "57P01", "57P02", "57P05")


class RowCountError(Exception):
    """A statement didn't give one row to each call: a mistake in its file."""


def was_rolled_back(error: Exception) -> TypeGuard[asyncpg.PostgresError]:
    """Whether PostgreSQL itself refused the statement, or the batch that it was in: then nothing was applied."""
    return isinstance(error, asyncpg.PostgresError) and not error.sqlstate.startswith(DISCONNECTED)


def forget_values(error: Exception) -> None:
    """Takes away what PostgreSQL quotes of the row that broke a constraint: what users write is not for the log."""
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None


def refusal(statement: Statement, error: Exception, *, sent: bool) -> Exception:
    """What a caller gets: the error if it is a mistake, otherwise a Problem that says whether it may have been applied.

    `sent` says whether PostgreSQL may have seen the call.
    """
    problem = unavailable()
    if sent and was_rolled_back(error):
        if not error.sqlstate.startswith(ROLLED_BACK):
            return error
    elif isinstance(error, RowCountError):
        return error
    elif sent and statement.writes:
        problem = Problem("outcome-unknown")
    problem.__cause__ = error
    return problem


def unavailable() -> Problem:
    """Nothing was applied: the request can be repeated as it is."""
    return Problem("unavailable", headers=RETRY_AFTER)
