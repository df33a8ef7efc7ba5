"""The migration runner: applies the files of sql/migrations/ in order. Concurrent runs apply each file once."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import asyncpg

from todo_service.database.statements import SQL, read_statement

Report = Callable[[str], None]

LOCK_KEY = 7_406_338_146_302_154_752  # number of the advisory lock, which no other program uses
LOCK_TIMEOUT = "50ms"  # while a migration waits for a table lock, requests queue behind it
LOCK_SECONDS = 10.0  # how long a migration is retried
CONCURRENT_LOCK_TIMEOUT = "5s"  # for files without a transaction: no request queues behind them
POLL_SECONDS = 0.2
OLDEST_VERSION = 15
NO_TRANSACTION = "-- no transaction"

CHECK_DATABASE = read_statement("maintenance/check_database").text
CREATE_SCHEMA_MIGRATIONS = read_statement("maintenance/create_schema_migrations").text
LIST_APPLIED_MIGRATIONS = read_statement("maintenance/list_applied_migrations").text
RECORD_MIGRATION = read_statement("maintenance/record_migration").text
SET_LOCK_TIMEOUT = read_statement("maintenance/set_lock_timeout").text
TRY_MIGRATION_LOCK = read_statement("maintenance/try_migration_lock").text


class MigrationError(Exception):
    """The database could not be migrated. The message says why, and what was applied, in one sentence."""


@dataclass(frozen=True)
class Migration:
    """A file of sql/migrations/."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """False for a file with the header `-- no transaction`: CREATE INDEX CONCURRENTLY needs this."""
        header = takewhile(lambda line: line.startswith("--"), self.text.splitlines())
        return NO_TRANSACTION not in header


def read_migrations(directory: Path = SQL / "migrations") -> list[Migration]:
    """Returns all migrations, in order. Their newlines, and so their checksums, are the same on every system."""
    return [Migration(path.name, path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.sql"))]


async def migrate(database_url: str, report: Report, migrations: list[Migration] | None = None) -> None:
    """Applies all pending migrations, and reports each one. If there are none, reports that the database is up to date.

    Concurrent runs wait for each other, and each migration is applied once. Raises MigrationError.
    """
    try:
        connection = await asyncpg.connect(
            database_url,
            statement_cache_size=0,
            server_settings={"application_name": "todo-service migrate", "lock_timeout": LOCK_TIMEOUT},
        )
    except asyncpg.ProtocolViolationError as error:  # a pooler would share the advisory lock among its clients
        raise MigrationError(
            f"This is not a direct connection ({_reason(error)}): migrations need the database's own address, "
            "not that of a pooler."
        ) from error
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise MigrationError(f"The database can't be reached: {_reason(error)}.") from error
    try:
        await _migrate(connection, report, read_migrations() if migrations is None else migrations)
    except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
        raise MigrationError(f"The database can't be migrated: {_reason(error)}.") from error
    finally:
        await connection.close()


async def _migrate(connection: asyncpg.Connection, report: Report, migrations: list[Migration]) -> None:
    await _check_database(connection, report)
    await _lock(connection, report)
    await connection.execute(CREATE_SCHEMA_MIGRATIONS)
    applied = {row["name"]: row["checksum"] for row in await connection.fetch(LIST_APPLIED_MIGRATIONS)}
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"{migration.name} was edited after it had been applied to this database: restore the file, "
                "and put the change into a new one. Nothing was applied."
            )
    pending = [migration for migration in migrations if migration.name not in applied]
    for migration in pending:
        await _apply(connection, report, migration)
        report(f"applied {migration.name}")
    if not pending:
        report(f"the database is up to date (newest migration: {migrations[-1].name})")


async def _check_database(connection: asyncpg.Connection, report: Report) -> None:
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":  # CHECK_DATABASE would fail in another encoding
        raise MigrationError(f"This database's encoding is {encoding}: the service needs UTF8.")
    [found] = await connection.fetch(CHECK_DATABASE)
    if found["version"] < OLDEST_VERSION:
        raise MigrationError(f"This is PostgreSQL {found['version']}: the service needs {OLDEST_VERSION} or later.")
    if not found["lowers_unicode"]:
        report(
            "warning: in this database lower('É') is not 'é', so sorting and searching don't ignore the case of "
            "letters outside ASCII; create the database with the locale C.UTF-8 to avoid this"
        )


async def _lock(connection: asyncpg.Connection, report: Report) -> None:
    waiting = False
    while not await connection.fetchval(TRY_MIGRATION_LOCK, LOCK_KEY):
        if not waiting:
            report("waiting for another migration to end")
        waiting = True
        await asyncio.sleep(POLL_SECONDS)


async def _apply(connection: asyncpg.Connection, report: Report, migration: Migration) -> None:
    try:
        if migration.in_transaction:
            await _apply_between_requests(connection, report, migration)
        else:
            await connection.execute(SET_LOCK_TIMEOUT, CONCURRENT_LOCK_TIMEOUT)
            await connection.execute(migration.text)
            await connection.execute(RECORD_MIGRATION, migration.name, migration.checksum)
            await connection.execute(SET_LOCK_TIMEOUT, LOCK_TIMEOUT)
    except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
        cause = error.__context__ or error  # the cause, not the error of a failed rollback
        advice = (
            "Nothing of it was applied: fix the cause"
            if migration.in_transaction
            else "It ran without a transaction: remove what it created, for example an invalid index"
        )
        raise MigrationError(f"{migration.name} failed: {_reason(cause)}. {advice}, then migrate again.") from error


async def _apply_between_requests(connection: asyncpg.Connection, report: Report, migration: Migration) -> None:
    """Applies a migration in a transaction. Retries for LOCK_SECONDS while requests hold locks on its tables."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + LOCK_SECONDS
    waiting = False
    while True:
        try:
            async with connection.transaction():
                await connection.execute(migration.text)
                await connection.execute(RECORD_MIGRATION, migration.name, migration.checksum)
        except asyncpg.LockNotAvailableError:
            if clock() > deadline:
                raise
        else:
            return
        if not waiting:
            report(f"waiting for the locks that {migration.name} needs")
        waiting = True
        await asyncio.sleep(POLL_SECONDS)


def _reason(error: BaseException) -> str:
    """The error's message, detail and hint on one line, without a full stop."""
    return "; ".join(str(error).splitlines()).rstrip(".") or type(error).__name__
