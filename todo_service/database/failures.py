"""Failures: what the error of a statement means, and which Problem its caller gets."""

import asyncpg

from todo_service.database.statements import Statement
from todo_service.problems import RETRY_AFTER, Problem

# SQLSTATEs after which PostgreSQL has certainly rolled back: the request can be repeated as it is.
# 25006 read only (a failover is in progress), 40001 and 40P01 serialization and deadlock, 53 resources, 55P03 lock
# timeout, 57014 statement timeout, 57P03 still starting, 58 input or output error; 42P01 and 42703 table or column
# missing: not migrated yet; 42501 no right to it: sql/roles.sql was not run since; 25P03 the service was too slow in a
# transaction.
ROLLED_BACK = ("25006", "25P03", "40001", "40P01", "42501", "42P01", "42703", "53", "55P03", "57014", "57P03", "58")

# SQLSTATEs of a connection that ended, perhaps after the commit: 08 connection, 57P01, 57P02 and 57P05 shutdowns.
DISCONNECTED = ("08", "57P01", "57P02", "57P05")


class RowCountError(Exception):
    """A statement did not return one row for each call: a mistake in its file."""


def is_mistake(error: Exception) -> bool:
    """Whether the service made a mistake, rather than a lost connection, a timeout or a temporary refusal.

    asyncpg raises InterfaceError before anything is sent, for example for a wrong number of arguments.
    """
    if isinstance(error, asyncpg.PostgresError):
        return not error.sqlstate.startswith((*ROLLED_BACK, *DISCONNECTED))
    return not isinstance(error, OSError)  # TimeoutError is one


def was_rolled_back(error: Exception) -> bool:
    """Whether nothing of the batch was applied and the connection can be used: PostgreSQL or asyncpg refused it."""
    if isinstance(error, asyncpg.PostgresError):
        return not error.sqlstate.startswith(DISCONNECTED)
    return isinstance(error, asyncpg.InterfaceError)


def redact_detail(error: Exception) -> None:
    """Removes PostgreSQL's detail, which quotes the row that violates a constraint: users' data is not logged."""
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None


def to_problem(statement: Statement, error: Exception, *, sent: bool) -> Exception:
    """The error itself if it is a mistake, otherwise a Problem that says whether the call may have been applied.

    `sent` says whether PostgreSQL may have seen the call.
    """
    if is_mistake(error):
        return error
    is_unknown = sent and statement.writes and not was_rolled_back(error)
    problem = Problem("outcome-unknown") if is_unknown else unavailable()
    problem.__cause__ = error
    return problem


def unavailable() -> Problem:
    """Nothing was applied: the request can be repeated as it is."""
    return Problem("unavailable", headers=RETRY_AFTER)
