"""A pooler in transaction mode (pgbouncer 1.18): services share connections to PostgreSQL, but no state."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.support.calls import create, creation, gather, tasks_of, users
from tests.support.database import SHOW_SETTINGS, call_timeout, open_database, pauses_after, wait_for_blocked_session
from tests.support.external_programs import require
from tests.support.pages import page
from tests.support.pgbouncer import POOLER_SETTINGS, behind, run_pgbouncer
from tests.support.postgres_servers import TcpServer
from tests.support.processes import TEST_TIMEOUT
from todo_service.database.database import Database
from todo_service.database.failures import RowCountError
from todo_service.database.migrations import MigrationError, migrate
from todo_service.database.sending import Senders
from todo_service.database.statements import Statement
from todo_service.handlers.tasks import CREATE_TASK
from todo_service.problems import Problem
from todo_service.settings import Settings

UNREACHABLE = re.compile(r"the database is unreachable \(.*\); next attempt in ([0-9.]+) s", re.DOTALL)
TRANSACTION_SETTINGS = ("jit", "lock_timeout", "plan_cache_mode", "statement_timeout")

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.xdist_group("pgbouncer")]


@pytest.fixture(scope="module", params=[1, 2], ids=["one connection", "two connections"])
def pool_size(request: pytest.FixtureRequest) -> int:
    """The number of the pooler's connections to PostgreSQL: fewer than a service has."""
    count: int = request.param
    return count


@pytest.fixture(scope="module")
def pooled_url(pool_size: int, database_url: str) -> Iterator[str]:
    """The address of the database through a pgbouncer with this pool size."""
    with run_pgbouncer(require("pgbouncer", "/usr/sbin/pgbouncer"), database_url, size=pool_size) as directory:
        yield behind(directory, database_url)


@asynccontextmanager
async def service(settings: Settings, pooled_url: str, **changes: Any) -> AsyncIterator[Database]:
    """A `Database` that connects through the pooler."""
    async with open_database(settings, database_url=pooled_url, database_statement_cache=0, **changes) as database:
        yield database


async def wait_for_busy_sessions(connection: asyncpg.Connection, count: int) -> None:
    """Waits until this number of other sessions is in a transaction."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND state <> 'idle' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(TEST_TIMEOUT):
        while await connection.fetchval(query) != count:
            await connection.execute("SELECT pg_sleep(0.01)")


async def test_services_that_share_connections_get_the_rows_of_their_own_calls(
    settings: Settings, pooled_url: str
) -> None:
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(service(settings, pooled_url)) for _ in range(3)]

        async def call(number: int, database: Database) -> None:
            statement = Statement(f"test/{number}", f"SELECT {number} AS statement, $1::text AS argument", writes=True)
            for _ in range(300):
                argument = str(uuid4())
                row = await database.run(statement, argument)
                assert dict(row) == {"statement": number, "argument": argument}

        await asyncio.gather(*(call(number, services[number % 3]) for number in range(12)))


async def test_session_settings_apply_to_transactions_of_the_service_only(settings: Settings, pooled_url: str) -> None:
    other = await asyncpg.connect(pooled_url, statement_cache_size=0)
    before: dict[str, str] = dict(*await other.fetch(SHOW_SETTINGS.text))

    async with service(settings, pooled_url) as database:
        ours = dict(await database.run_without_user(SHOW_SETTINGS))
        after: dict[str, str] = dict(*await other.fetch(SHOW_SETTINGS.text))

    await other.close()
    assert all(ours[name] != before[name] for name in TRANSACTION_SETTINGS)
    assert all(after[name] == before[name] for name in TRANSACTION_SETTINGS)


@pytest.mark.parametrize(
    ("text", "argument", "error"),
    [
        ("SELECT 1 / $1::integer AS n", 0, asyncpg.DivisionByZeroError),
        ("SELECT 1 / $1::integer AS n", "text", asyncpg.DataError),
        ("SELECT generate_series(1, $1::integer) AS n", 2, RowCountError),
        ("SELECT pg_sleep($1::integer)::text AS n", 600, Problem),
        ("SELECT nothing, $1::integer AS n", 1, Problem),
    ],
    ids=["server error", "wrong argument", "wrong number of rows", "timeout", "not migrated"],
)
async def test_an_error_leaves_no_open_transaction(
    settings: Settings,
    pooled_url: str,
    connection: asyncpg.Connection,
    text: str,
    argument: Any,
    error: type[Exception],
) -> None:
    [user_id] = users(1)
    wrong = f"WITH u AS (INSERT INTO users (id, revision) VALUES ('{user_id}', 1)) {text}"
    timeout = 3 if argument == 600 else 60
    async with service(settings, pooled_url, database_timeout=timeout) as database:
        with call_timeout(database, TEST_TIMEOUT):
            with pytest.raises(error):
                await database.run(Statement("test/wrong", wrong, writes=True), argument)
            assert (await create(database, user_id))["revision"] == 1

        await wait_for_busy_sessions(connection, 0)


async def test_a_write_that_gets_no_connection_of_the_pooler_is_not_applied(
    settings: Settings, pool_size: int, pooled_url: str, connection: asyncpg.Connection
) -> None:
    owners = users(3)
    others = [await asyncpg.connect(pooled_url, statement_cache_size=0) for _ in range(2)]
    async with service(settings, pooled_url) as database:
        await create(database, owners[0])
        held = [asyncio.create_task(other.execute("BEGIN")) for other in others]
        await wait_for_busy_sessions(connection, pool_size)
        with call_timeout(database, 1):
            outcomes = await gather(*(database.run(CREATE_TASK, *creation(user_id)) for user_id in owners))
        for other in others:  # the batch gets a connection now, but its calls have expired
            other.terminate()
        await asyncio.gather(*held, return_exceptions=True)
        assert await tasks_of(connection, *owners) == 1
        assert (await create(database, owners[1]))["revision"] == 1
    assert [outcome.name for outcome in outcomes if isinstance(outcome, Problem)] == ["unavailable"] * 3


@pytest.fixture
async def slow_commit(connection: asyncpg.Connection) -> AsyncIterator[str]:
    """The id of a user. When a task of this user is created, its commit waits for a lock."""
    await connection.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (new.user_id LIKE 'slow-%') EXECUTE FUNCTION wait()"
    )
    yield f"slow-{uuid4()}"
    await connection.execute("DROP FUNCTION wait CASCADE")


@pytest.mark.usefixtures("long_lock_timeout")
async def test_a_write_whose_connection_is_lost_during_the_commit_is_outcome_unknown(
    settings: Settings,
    pooled_url: str,
    connection: asyncpg.Connection,
    slow_commit: str,
) -> None:
    async with service(settings, pooled_url) as database:
        await connection.execute("SELECT pg_advisory_lock(1)")
        call = asyncio.create_task(database.run(CREATE_TASK, *creation(slow_commit)))
        await connection.execute("SELECT pg_terminate_backend($1)", await wait_for_blocked_session(connection))
        with pytest.raises(Problem) as caught:
            await call
        await connection.execute("SELECT pg_advisory_unlock(1)")
        assert caught.value.name == "outcome-unknown"
        await create(database, users(1)[0])


async def test_a_write_whose_commit_postgresql_rejects_is_not_applied(
    settings: Settings,
    pooled_url: str,
    connection: asyncpg.Connection,
    slow_commit: str,
    monkeypatch: pytest.MonkeyPatch,
    short_lock_retry_timeout: int,
) -> None:
    monkeypatch.setattr("todo_service.database.connecting.LOCK_TIMEOUT", "50ms")
    other = users(1)[0]
    changes = {"database_pool_size": 1, "database_timeout": short_lock_retry_timeout}
    async with service(settings, pooled_url, **changes) as database:
        await connection.execute("SELECT pg_advisory_lock(1)")
        rejected, created = await gather(*(database.run(CREATE_TASK, *creation(user)) for user in (slow_commit, other)))
        await connection.execute("SELECT pg_advisory_unlock(1)")
    assert isinstance(rejected, Problem)
    assert rejected.name == "unavailable"
    assert isinstance(created, asyncpg.Record)
    assert await tasks_of(connection, slow_commit, other) == 1


async def can_lock_user(url: str, user_id: str) -> bool:
    """Waits for the lock of the user's row. Returns whether it got the lock within TEST_TIMEOUT seconds."""
    connection = await asyncpg.connect(url, server_settings={"lock_timeout": f"{TEST_TIMEOUT}s"})
    try:
        return bool(await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id))
    except asyncpg.LockNotAvailableError:
        return False
    finally:
        await connection.close()


async def test_a_service_that_freezes_in_a_transaction_loses_its_locks(
    settings: Settings, pooled_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch: Any = Senders._fetch_rows
    [user_id] = users(1)
    freed = []

    async def freeze(*args: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await fetch(*args)
        with ThreadPoolExecutor() as another:  # blocks the event loop, and so the whole service
            freed.append(another.submit(asyncio.run, can_lock_user(database_url, user_id)).result())
        return rows

    async with service(settings, pooled_url, database_timeout=3) as database, AsyncExitStack() as stack:
        stack.enter_context(call_timeout(database, TEST_TIMEOUT))  # calls wait longer than the timeouts of PostgreSQL
        await create(database, user_id)
        with monkeypatch.context() as patch:
            patch.setattr(Senders, "_fetch_rows", freeze)
            with pytest.raises(Problem):
                await database.run(CREATE_TASK, *creation(user_id))
        assert freed == [True]
        assert (await create(database, user_id))["revision"] == 2


async def test_the_service_reconnects_to_a_database_behind_a_pooler(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = TcpServer(tmp_path)
    with server.run() as url:
        administrator = await asyncpg.connect(url)
        await administrator.execute("CREATE ROLE todo_service LOGIN")
        await administrator.close()
    address = f"postgres:///postgres?host=127.0.0.1&port={server.port}"
    statement = Statement("test/one", "SELECT 1 AS one", writes=False)
    with run_pgbouncer(require("pgbouncer", "/usr/sbin/pgbouncer"), address) as directory:
        async with service(settings, behind(directory, address), database_timeout=1) as database:
            for _ in range(2):
                with server.run():
                    async with asyncio.timeout(TEST_TIMEOUT):
                        while isinstance((await gather(database.run_without_user(statement)))[0], Problem):
                            pass
                    with call_timeout(database, TEST_TIMEOUT):
                        for outcome in await gather(*(database.run_without_user(statement) for _ in range(50))):
                            assert isinstance(outcome, asyncpg.Record)
                caplog.clear()
                pauses: list[float] = []
                async with asyncio.timeout(TEST_TIMEOUT):
                    while len(pauses) < 5:  # pgbouncer queues the first calls until they expire
                        [outcome] = await gather(database.run_without_user(statement))
                        assert isinstance(outcome, Problem)
                        assert outcome.name == "unavailable"
                        pauses = [float(match[1]) for line in caplog.messages if (match := UNREACHABLE.fullmatch(line))]
                assert pauses == pauses_after(len(pauses))
                assert len(caplog.messages) <= 3 * len(pauses)


async def test_migrations_refuse_a_pooler(pooled_url: str) -> None:
    with pytest.raises(MigrationError, match=r"^This is not a direct connection .*: migrations need the database's"):
        await migrate(pooled_url, lambda _line: None)


def test_the_documentation_names_the_settings_for_a_pooler() -> None:
    section = page("docs/configuration.md").section("Poolers")
    assert re.findall(r"`(\w+)=(\w+)`", section) == [*POOLER_SETTINGS.items()]
