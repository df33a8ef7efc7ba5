"""Fixtures of the tests of the database."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.conftest import SERVER_URL

CreateDatabase = Callable[[str], Awaitable[str]]


@pytest.fixture
async def create_database() -> AsyncIterator[CreateDatabase]:
    """Creates databases with options of CREATE DATABASE."""
    server = os.environ[SERVER_URL]
    connection = await asyncpg.connect(server)
    names = []

    async def create(options: str = "") -> str:
        names.append(f"test_{uuid4().hex}")
        await connection.execute(f"CREATE DATABASE {names[-1]} {options}")
        return urlunsplit(urlsplit(server)._replace(path=f"/{names[-1]}"))

    yield create
    for name in names:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()
