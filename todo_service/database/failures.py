"""Failures: what the error of a statement means, and which Problem its caller gets."""

import asyncpg

from todo_service.database.statements import Statement
from todo_service.problems import RETRY_AFTER, Problem

# SQLSTATEs after which PostgreSQL has certainly rolled back, so the client can repeat the request:
#   25006         read-only transaction: a failover is in progress
#   25P03         idle-in-transaction timeout: the service was too slow in a transaction
#   40001, 40P01  serialization failure, deadlock
#   42501         insufficient privilege: sql/roles.sql was not run after the migration
#   42P01, 42703  undefined table or column: the database is not migrated yet
#   53, 58        insufficient resources, system error
#   55P03, 57014  lock timeout, statement timeout
#   57P03         the server is still starting
ROLLED_BACK = ("25006", "25P03", "40001", "40P01", "42501", "42P01", "42703", "53", "55P03", "57014", "57P03", "58")

# SQLSTATEs of a connection that was lost, perhaps after the commit: class 08, and 57P01, 57P02, 57P05 (session ended).
DISCONNECTED = ("08", "57P01", "57P02", "57P05")


class RowCountError(Exception):
    """A statement did not return one row for each call: a mistake in its file."""


def is_mistake(error: Exception) -> bool:
    """Whether the error is a mistake of the service. Lost connections, timeouts and temporary refusals are not.

    asyncpg raises InterfaceError before anything is sent, for example for a wrong number of arguments.
    """
    if isinstance(error, asyncpg.PostgresError):
        return not error.sqlstate.startswith((*ROLLED_BACK, *DISCONNECTED))
    return not isinstance(error, OSError)  # TimeoutError is an OSError


def was_rolled_back(error: Exception) -> bool:
    """Whether PostgreSQL or asyncpg refused the batch: nothing was applied, and the connection is still usable."""
    if isinstance(error, asyncpg.PostgresError):
        return not error.sqlstate.startswith(DISCONNECTED)
    return isinstance(error, asyncpg.InterfaceError)


def redact_detail(error: Exception) -> None:
    """Removes PostgreSQL's detail, which quotes the row that violates a constraint. The log must not contain rows."""
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None


def to_problem(statement: Statement, error: Exception, *, sent: bool) -> Exception:
    """The error itself if it is a mistake, otherwise a Problem that says whether the call may have been applied.

    `sent` says whether PostgreSQL may have received the call.
    """
    if is_mistake(error):
        return error
    is_unknown = sent and statement.writes and not was_rolled_back(error)
    problem = Problem("outcome-unknown") if is_unknown else unavailable()
    problem.__cause__ = error
    return problem


def unavailable() -> Problem:
    """The Problem for a call that was not applied: the client can repeat the request unchanged."""
    return Problem("unavailable", headers=RETRY_AFTER)
