"""Migrations: each file is applied once, in order and completely, or the error says why not."""

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.postgres_servers import CreateDatabase, session
from tests.support.processes import TEST_TIMEOUT, UP_TO_DATE, free_port, up_to_date
from todo_service.__main__ import main
from todo_service.database import migrations
from todo_service.database.migrations import Migration, MigrationError, migrate, read_migrations

pytestmark = pytest.mark.database


FIRST = Migration("0001_first.sql", "CREATE TABLE first (n integer);")


SECOND = Migration("0002_second.sql", "CREATE TABLE second (n integer);")


CHANGE = Migration("0002_change.sql", "ALTER TABLE first ADD COLUMN m integer;")


INDEX = Migration("0002_index.sql", "-- no transaction\nCREATE UNIQUE INDEX CONCURRENTLY first_n_idx ON first (n);\n")


async def report_of(url: str, *files: Migration) -> list[str]:
    """Migrates, and returns the reported lines."""
    lines: list[str] = []
    await migrate(url, lines.append, list(files) or None)
    return lines


async def tables_of(url: str) -> set[str]:
    """The tables that the migrations have created."""
    async with session(url) as connection:
        rows = await connection.fetch("SELECT relname FROM pg_stat_user_tables WHERE relname <> 'schema_migrations'")
        return {row["relname"] for row in rows}


async def wait_for_blocked_migration(connection: asyncpg.Connection) -> None:
    """Returns as soon as another session of this database waits for a lock."""
    async with asyncio.timeout(TEST_TIMEOUT):
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await connection.execute("SELECT pg_sleep(0.01)")


# Applying files


async def test_each_migration_is_applied_once(empty_database: str) -> None:
    assert await report_of(empty_database) == [f"applied {file.name}" for file in read_migrations()]
    assert await report_of(empty_database) == [UP_TO_DATE]
    assert await tables_of(empty_database) == {"users", "tasks"}


def test_migrations_are_numbered_without_gaps() -> None:
    assert [file.name[:5] for file in read_migrations()] == [f"{n:04}_" for n in range(1, len(read_migrations()) + 1)]


def test_a_migration_has_the_same_checksum_with_windows_newlines(tmp_path: Path) -> None:
    for name, newline in {"unix": b"\n", "windows": b"\r\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / INDEX.name).write_bytes(INDEX.text.encode().replace(b"\n", newline))
    [unix], [windows] = read_migrations(tmp_path / "unix"), read_migrations(tmp_path / "windows")
    assert unix.checksum == windows.checksum == INDEX.checksum
    assert (unix.in_transaction, windows.in_transaction) == (False, False)


async def test_one_of_ten_concurrent_runs_applies_the_migrations_while_the_others_wait(empty_database: str) -> None:
    reports = await asyncio.gather(*(report_of(empty_database) for _ in range(10)))
    done = [[line for line in report if not line.startswith("waiting")] for report in reports]
    applied = [f"applied {file.name}" for file in read_migrations()]
    assert sorted(done) == sorted([applied, *[[UP_TO_DATE]] * 9])


async def test_an_older_release_leaves_newer_migrations_applied(empty_database: str) -> None:
    await report_of(empty_database, FIRST, SECOND)
    assert await report_of(empty_database, FIRST) == [up_to_date(FIRST)]
    assert await tables_of(empty_database) == {"first", "second"}


async def test_an_index_is_created_concurrently_while_another_run_waits(empty_database: str) -> None:
    await report_of(empty_database, FIRST)
    lines: list[str] = []
    waiting = asyncio.Event()

    def report(line: str) -> None:
        lines.append(line)
        waiting.set()

    async with session(empty_database) as writer, session(empty_database) as observer, asyncio.TaskGroup() as group:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("INSERT INTO first VALUES (1)")  # the index waits for the end of this transaction
        one = group.create_task(report_of(empty_database, FIRST, INDEX))
        await wait_for_blocked_migration(observer)
        group.create_task(migrate(empty_database, report, [FIRST, INDEX]))
        await waiting.wait()
        await transaction.commit()
    assert one.result() == ["applied 0002_index.sql"]
    assert lines == ["waiting for another migration to end", up_to_date(INDEX)]
    async with session(empty_database) as connection:
        assert await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'first_n_idx'::regclass")


# Failing files


async def test_an_edited_migration_is_refused_and_none_is_applied(empty_database: str) -> None:
    await report_of(empty_database, FIRST)
    edited = replace(FIRST, text=FIRST.text + "\n")
    with pytest.raises(MigrationError, match=r"^0001_first\.sql was edited .* Nothing was applied\.$"):
        await report_of(empty_database, edited, SECOND)
    assert await tables_of(empty_database) == {"first"}


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        ("SELECT 1 / 0;", "division by zero"),
        # This file fails only after its last statement, when `migrate` records it.
        ("INSERT INTO schema_migrations VALUES ('0002_second.sql', 'x');", "duplicate key .* already exists"),
    ],
)
async def test_a_failing_migration_is_rolled_back_and_can_be_fixed(
    empty_database: str, mistake: str, reason: str
) -> None:
    broken = replace(SECOND, text=SECOND.text + mistake)
    third = Migration("0003_third.sql", "CREATE TABLE third (n integer);")
    with pytest.raises(MigrationError, match=rf"^0002_second\.sql failed: {reason}\. Nothing of it was applied"):
        await report_of(empty_database, FIRST, broken, third)
    assert await tables_of(empty_database) == {"first"}
    assert await report_of(empty_database, FIRST, SECOND, third) == [
        "applied 0002_second.sql",
        "applied 0003_third.sql",
    ]
    assert await tables_of(empty_database) == {"first", "second", "third"}


async def test_the_error_of_a_migration_without_transaction_names_its_leftovers(empty_database: str) -> None:
    await report_of(empty_database, FIRST)
    async with session(empty_database) as connection:
        await connection.execute("INSERT INTO first VALUES (1), (1)")
        with pytest.raises(MigrationError, match=r"(?s)^0002_index\.sql failed: could not .* an invalid index"):
            await report_of(empty_database, FIRST, INDEX)
        await connection.execute("DROP INDEX first_n_idx")
        await connection.execute("TRUNCATE first")
    assert await report_of(empty_database, FIRST, INDEX) == ["applied 0002_index.sql"]


async def test_migrations_have_a_short_lock_timeout(empty_database: str) -> None:
    await report_of(
        empty_database, Migration("1.sql", "CREATE TABLE t AS SELECT current_setting('lock_timeout') AS s;")
    )
    async with session(empty_database) as connection:
        assert await connection.fetchval("SELECT s FROM t") == migrations.LOCK_TIMEOUT
        assert await connection.fetchval("SELECT s::interval BETWEEN '1 ms' AND '200 ms' FROM t")


async def test_a_migration_of_a_locked_table_fails_and_names_its_file(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.3)
    await report_of(empty_database, FIRST)
    async with session(empty_database) as connection, connection.transaction():
        await connection.execute("LOCK TABLE first IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError, match=r"^0002_change\.sql failed: .*lock timeout\. Nothing of it"):
            await report_of(empty_database, FIRST, CHANGE)
    assert await report_of(empty_database, FIRST, CHANGE) == ["applied 0002_change.sql"]


async def test_a_lost_connection_fails_the_run_and_the_next_run_succeeds(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "30s")
    await report_of(empty_database, FIRST)
    async with session(empty_database) as connection, session(empty_database) as observer, connection.transaction():
        await connection.execute("LOCK TABLE first IN ACCESS SHARE MODE")
        run = asyncio.ensure_future(report_of(empty_database, FIRST, CHANGE))
        await wait_for_blocked_migration(observer)
        await observer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'todo-service migrate'"
        )
        with pytest.raises(MigrationError, match=r"^0002_change\.sql failed: .*terminating connection"):
            await run
    assert (await report_of(empty_database, FIRST, CHANGE))[-1] == "applied 0002_change.sql"


# Unsuitable databases


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
async def test_a_database_without_utf8_is_refused(create_database: CreateDatabase, encoding: str) -> None:
    url = await create_database(
        f"ENCODING '{encoding}' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    with pytest.raises(MigrationError, match=rf"^This database's encoding is {encoding}: .* UTF8\.$"):
        await report_of(url)
    assert await tables_of(url) == set()


async def test_a_database_whose_lower_changes_only_ascii_letters_works_with_a_warning(
    create_database: CreateDatabase,
) -> None:
    url = await create_database("ENCODING 'UTF8' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    warning, *lines = await report_of(url)
    assert warning.startswith("warning: in this database lower('É') is not 'é'")
    assert lines == [f"applied {file.name}" for file in read_migrations()]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("postgres://guarded:hidden@{socket}", "password authentication failed"),
        ("postgres://guarded@{socket}", "password authentication failed"),
        ("postgres://nobody:hidden@{socket}", 'role "nobody" does not exist'),
        ("postgres://postgres:hidden@/missing{query}", 'database "missing" does not exist'),
        ("postgres://u:hidden@127.0.0.1:{port}/d", "can't be reached"),
        (
            "postgres://u:hidden@127.0.0.1:{port}/d?sslmode=verify-full&sslrootcert=/missing",
            "must be an existing file in PEM form",
        ),
        ("postgres://u:hidden@127.0.0.1:{port}/d?target_session_attrs=x", "DATABASE_URL must be"),
        ("postgres://u:hidden@127.0.0.1:{port}/d?sslnegotiation=x", "DATABASE_URL must be"),
        ("postgres://u:hidden@host:port/d", "DATABASE_URL must be"),
        ("postgres://u:pass@hidden:word@host/d", "DATABASE_URL must be"),
        ("mysql://u:hidden@127.0.0.1/d", "DATABASE_URL must be"),
        ("hidden", "DATABASE_URL must be"),
    ],
)
def test_an_unusable_database_is_reported_in_one_line_without_the_password(
    guarded_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    reason: str,
) -> None:
    query = "?" + urlsplit(guarded_server).query
    monkeypatch.setenv("DATABASE_URL", address.format(socket=f"/postgres{query}", query=query, port=free_port()))
    assert main(["migrate"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert reason in captured.err
    assert "hidden" not in captured.err
    assert captured.err.endswith(".\n")
    assert captured.err.count("\n") == 1
