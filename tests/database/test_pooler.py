"""A pooler in transaction mode, pgbouncer 1.18: whoever shares a server with whom, each gets what is theirs."""

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
from tests.support.database import SETTINGS, is_waiting, limit, pauses_after, pool
from tests.support.pgbouncer import SETTINGS as README_SETTINGS
from tests.support.pgbouncer import behind, run_pgbouncer
from tests.support.processes import PATIENCE
from tests.support.servers import TcpServer
from tests.support.tools import require
from todo_service.database.database import Database
from todo_service.database.failures import RowCountError
from todo_service.database.migrations import MigrationError, migrate
from todo_service.database.sending import Senders
from todo_service.database.statements import Statement
from todo_service.handlers.tasks import CREATE_TASK
from todo_service.problems import Problem
from todo_service.settings import Settings

ROOT = Path(__file__).parents[2]
AWAY = re.compile(r"the database is unreachable \(.*\); next attempt in ([0-9.]+) s", re.DOTALL)
TRANSACTION_SETTINGS = ("jit", "lock_timeout", "plan_cache_mode", "statement_timeout")

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.xdist_group("pgbouncer")]


@pytest.fixture(scope="module", params=[1, 2], ids=["one server", "two servers"])
def servers(request: pytest.FixtureRequest) -> int:
    """How many servers the pooler has: fewer than a service has connections."""
    count: int = request.param
    return count


@pytest.fixture(scope="module")
def pooled_url(servers: int, database_url: str) -> Iterator[str]:
    """The address of the database through such a pgbouncer."""
    with run_pgbouncer(require("pgbouncer", "/usr/sbin/pgbouncer"), database_url, size=servers) as directory:
        yield behind(directory, database_url)


@asynccontextmanager
async def service(settings: Settings, pooled_url: str, **changes: Any) -> AsyncIterator[Database]:
    async with pool(settings, database_url=pooled_url, database_statement_cache=0, **changes) as database_:
        yield database_


async def busy_sessions(connection: asyncpg.Connection, count: int) -> None:
    """Waits until so many other sessions are in a transaction."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND state <> 'idle' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval(query) != count:
            await connection.execute("SELECT pg_sleep(0.01)")


async def test_each_service_runs_its_own_statements_with_its_own_arguments(settings: Settings, pooled_url: str) -> None:
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(service(settings, pooled_url)) for _ in range(3)]

        async def ask(number: int, database_: Database) -> None:
            statement = Statement(f"test/{number}", f"SELECT {number} AS statement, $1::text AS argument", writes=True)
            for _ in range(300):
                argument = str(uuid4())
                row = await database_.run(statement, argument)
                assert dict(row) == {"statement": number, "argument": argument}

        await asyncio.gather(*(ask(number, services[number % 3]) for number in range(12)))


async def test_settings_are_of_our_transactions_and_of_nobody_else(settings: Settings, pooled_url: str) -> None:
    other = await asyncpg.connect(pooled_url, statement_cache_size=0)
    before: dict[str, str] = dict(*await other.fetch(SETTINGS.text))

    async with service(settings, pooled_url) as database_:
        ours = dict(await database_.run_without_user(SETTINGS))
        after: dict[str, str] = dict(*await other.fetch(SETTINGS.text))

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
    ids=["server error", "wrong argument", "wrong rows", "timeout", "not migrated"],
)
async def test_an_error_leaves_no_transaction_behind(
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
    async with service(settings, pooled_url, database_timeout=timeout) as database_:
        with limit(database_, PATIENCE):
            with pytest.raises(error):
                await database_.run(Statement("test/wrong", wrong, writes=True), argument)
            assert (await create(database_, user_id))["revision"] == 1

        await busy_sessions(connection, 0)


async def test_while_there_is_no_server_a_write_is_certainly_not_applied(
    settings: Settings, servers: int, pooled_url: str, connection: asyncpg.Connection
) -> None:
    owners = users(3)
    others = [await asyncpg.connect(pooled_url, statement_cache_size=0) for _ in range(2)]
    async with service(settings, pooled_url) as database_:
        await create(database_, owners[0])
        held = [asyncio.create_task(other.execute("BEGIN")) for other in others]
        await busy_sessions(connection, servers)
        with limit(database_, 1):
            answers = await gather(*(database_.run(CREATE_TASK, *creation(user_id)) for user_id in owners))
        for other in others:  # the write gets its server now, when nobody waits for its answer any more
            other.terminate()
        await asyncio.gather(*held, return_exceptions=True)
        assert await tasks_of(connection, *owners) == 1
        assert (await create(database_, owners[1]))["revision"] == 1
    assert [answer.name for answer in answers if isinstance(answer, Problem)] == ["unavailable"] * 3


@pytest.fixture
async def slow_commit(connection: asyncpg.Connection) -> AsyncIterator[str]:
    """A user whose creation waits for a lock only when it is committed."""
    await connection.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (new.user_id LIKE 'slow-%') EXECUTE FUNCTION wait()"
    )
    yield f"slow-{uuid4()}"
    await connection.execute("DROP FUNCTION wait CASCADE")


async def test_a_connection_that_is_lost_during_the_commit_leaves_the_outcome_unknown(
    settings: Settings,
    pooled_url: str,
    connection: asyncpg.Connection,
    slow_commit: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("todo_service.database.connecting.LOCK_TIMEOUT", "30s")
    async with service(settings, pooled_url) as database_:
        await connection.execute("SELECT pg_advisory_lock(1)")
        call = asyncio.create_task(database_.run(CREATE_TASK, *creation(slow_commit)))
        await connection.execute("SELECT pg_terminate_backend($1)", await is_waiting(connection))
        with pytest.raises(Problem) as caught:
            await call
        await connection.execute("SELECT pg_advisory_unlock(1)")
        assert caught.value.name == "outcome-unknown"
        await create(database_, users(1)[0])


async def test_a_commit_that_the_server_refuses_was_not_applied(
    settings: Settings,
    pooled_url: str,
    connection: asyncpg.Connection,
    slow_commit: str,
    monkeypatch: pytest.MonkeyPatch,
    timeout_of_the_locked: int,
) -> None:
    monkeypatch.setattr("todo_service.database.connecting.LOCK_TIMEOUT", "50ms")
    other = users(1)[0]
    changes = {"database_pool_size": 1, "database_timeout": timeout_of_the_locked}
    async with service(settings, pooled_url, **changes) as database_:
        await connection.execute("SELECT pg_advisory_lock(1)")
        refused, created = await gather(*(database_.run(CREATE_TASK, *creation(user)) for user in (slow_commit, other)))
        await connection.execute("SELECT pg_advisory_unlock(1)")
    assert isinstance(refused, Problem)
    assert refused.name == "unavailable"
    assert isinstance(created, asyncpg.Record)
    assert await tasks_of(connection, slow_commit, other) == 1


async def is_free(url: str, user_id: str) -> bool:
    """Whether others let go of the user's row in time."""
    connection = await asyncpg.connect(url, server_settings={"lock_timeout": f"{PATIENCE}s"})
    try:
        return bool(await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id))
    except asyncpg.LockNotAvailableError:
        return False
    finally:
        await connection.close()


async def test_a_service_that_stops_within_a_transaction_does_not_keep_its_locks(
    settings: Settings, pooled_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch: Any = Senders._fetch_rows
    [user_id] = users(1)
    freed = []

    async def stop(*args: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await fetch(*args)
        with ThreadPoolExecutor() as another:  # not this task alone is stopped, but the whole service
            freed.append(another.submit(asyncio.run, is_free(database_url, user_id)).result())
        return rows

    async with service(settings, pooled_url, database_timeout=3) as database_, AsyncExitStack() as stack:
        stack.enter_context(limit(database_, PATIENCE))  # the server's own comes first
        await create(database_, user_id)
        with monkeypatch.context() as patch:
            patch.setattr(Senders, "_fetch_rows", stop)
            with pytest.raises(Problem):
                await database_.run(CREATE_TASK, *creation(user_id))
        assert freed == [True]
        assert (await create(database_, user_id))["revision"] == 2


async def test_a_database_that_is_away_behind_a_pooler_is_searched_for_and_found(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = TcpServer(tmp_path)
    with server.run() as url:
        administrator = await asyncpg.connect(url)
        await administrator.execute("CREATE ROLE todo_service LOGIN")
        await administrator.close()
    address = f"postgres:///postgres?host=127.0.0.1&port={server.port}"
    anything = Statement("test/anything", "SELECT 1 AS one", writes=False)
    with run_pgbouncer(require("pgbouncer", "/usr/sbin/pgbouncer"), address) as directory:
        async with service(settings, behind(directory, address), database_timeout=1) as database_:
            for _ in range(2):
                with server.run():
                    async with asyncio.timeout(PATIENCE):
                        while isinstance((await gather(database_.run_without_user(anything)))[0], Problem):
                            pass
                    with limit(database_, PATIENCE):
                        for answer in await gather(*(database_.run_without_user(anything) for _ in range(50))):
                            assert isinstance(answer, asyncpg.Record)
                caplog.clear()
                pauses: list[float] = []
                async with asyncio.timeout(PATIENCE):
                    while len(pauses) < 5:  # pgbouncer keeps the first waiting, until their time is over
                        [answer] = await gather(database_.run_without_user(anything))
                        assert isinstance(answer, Problem)
                        assert answer.name == "unavailable"
                        pauses = [float(match[1]) for line in caplog.messages if (match := AWAY.fullmatch(line))]
                assert pauses == pauses_after(len(pauses))
                assert len(caplog.messages) <= 3 * len(pauses)


async def test_migrations_refuse_a_pooler_that_would_keep_their_locks(pooled_url: str) -> None:
    with pytest.raises(MigrationError, match=r"^This is not a direct connection .*: migrations need the database's"):
        await migrate(pooled_url, lambda _line: None)


def test_the_readme_names_what_a_service_behind_a_pooler_needs() -> None:
    [paragraph] = re.findall(r"^\*\*Poolers\.\*\*.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert re.findall(r"`(\w+)=(\w+)`", paragraph) == [*README_SETTINGS.items()]
