"""Fixtures for all tests: one PostgreSQL for a run, one migrated database for a process, new users for each test."""

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from tests.support.api import FAILING, Api, Client, ServiceServer
from tests.support.pgbouncer import DIRECTORY, PROGRAM, pooled, run_pgbouncer
from tests.support.postgres_servers import SERVER_URL, create_test_database, drop_test_database, run_server
from tests.support.processes import SETTING_VARIABLES, free_port
from tests.support.service_role import grant_service, service_url
from todo_service import background
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.database.migrations import migrate
from todo_service.http.routes import ROUTES, Route
from todo_service.server.runner import SERVER_OPTIONS
from todo_service.settings import Settings

pytest_plugins = [f"tests.support.{name}" for name in ("database", "exports", "plans", "postgres_servers", "writers")]

# PostgreSQL is faster with these options, but a crash loses data. The data is deleted after the run anyway.
NOT_DURABLE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=200")

resources = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    if SERVER_URL in os.environ:
        return
    data = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="todo-service-tests-")))
    options = [word for setting in NOT_DURABLE for word in ("-c", setting)]
    os.environ[SERVER_URL] = resources.enter_context(run_server(data, *options)).url
    resources.callback(os.environ.pop, SERVER_URL)
    if PROGRAM in os.environ:
        os.environ[DIRECTORY] = resources.enter_context(run_pgbouncer(os.environ[PROGRAM], os.environ[SERVER_URL]))
        resources.callback(os.environ.pop, DIRECTORY)


def pytest_unconfigure(config: pytest.Config) -> None:
    resources.close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the settings of the developer's environment."""
    for name in SETTING_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def background_failures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The background tasks that failed in this process. A test that expects a failure removes it from the list."""
    failed: list[str] = []
    monkeypatch.setattr(background, "end_worker", failed.append)
    yield failed
    assert failed == []


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The owner's address of the migrated database of this process, without a pooler."""

    async def create() -> str:
        url = await create_test_database()
        await migrate(url, lambda _line: None)
        await grant_service(url)
        return url

    url = asyncio.run(create())
    yield url
    asyncio.run(drop_test_database(url))


@pytest.fixture(scope="session")
def service_database_url(database_url: str) -> str:
    """The address of the same database for the service's role (sql/roles.sql)."""
    return service_url(database_url)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def observer(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second connection, to look at the database while the first is in a transaction."""
    observer = await asyncpg.connect(database_url)
    yield observer
    await observer.close()


@pytest.fixture(scope="session")
def settings(service_database_url: str) -> Settings:
    return Settings(
        database_url=pooled(service_database_url),
        database_timeout=60,  # long enough for a busy machine; tests of timeouts set another
        database_statement_cache=0 if PROGRAM in os.environ else Settings.database_statement_cache,
        jwt_secret=secrets.token_urlsafe(48),
        cors_origins=("https://app.example.com", "http://localhost:3000"),
    )


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, settings: Settings) -> Client:
    """The service, called without a token."""
    server = ServiceServer(create_app(settings))
    await server.start_server(**SERVER_OPTIONS)
    return await aiohttp_client(server)


@pytest.fixture
def make_user(client: Client, settings: Settings) -> Callable[[], Api]:
    """Makes new users."""

    def make(user_id: str | None = None) -> Api:
        user_id = user_id or f"user-{uuid4()}"
        return Api(client, user_id, sign_token(settings.jwt_secret, user_id, days=1))

    return make


@pytest.fixture
def owner(make_user: Callable[[], Api]) -> Api:
    return make_user()


@pytest.fixture
def stranger(make_user: Callable[[], Api]) -> Api:
    return make_user()


@pytest.fixture
async def failing_client(aiohttp_client: AiohttpClient, settings: Settings) -> Client:
    """A service whose database is unreachable, and whose public route FAILING raises an exception."""

    async def fail(_request: web.Request) -> web.Response:
        raise ZeroDivisionError('with "quotes"\nand lines')

    app = create_app(replace(settings, database_url=f"postgres://u:p@127.0.0.1:{free_port()}/d"))
    app[ROUTES].add(app, [Route("GET", FAILING, fail, public=True)])
    server = ServiceServer(app)
    await server.start_server(**SERVER_OPTIONS)
    return await aiohttp_client(server)
