"""Fixtures for the service behind proxies: the deployed service, the recommended proxies, and clients with a token."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from tests.support.exports import User, small_socket
from tests.support.processes import TEST_TIMEOUT, served
from tests.support.reverse_proxies import SERVERS, run_recommended, trusting


@dataclass(frozen=True)
class Caller:
    """One user's calls through a proxy. A body is received as it is: the tests decode it."""

    session: ClientSession
    base: URL

    async def call(self, method: str, reference: str, *, base: URL | None = None, **arguments: Any) -> ClientResponse:
        """Resolves a reference against `base` or the address of the proxy, and receives the whole response."""
        response = await self.session.request(method, self.at(reference, base), **arguments)
        await response.read()
        return response

    async def pages(self, reference: str) -> AsyncIterator[dict[str, Any]]:
        """The tasks of all pages of a list. Follows each Link as aiohttp resolves it."""
        address: str | None = reference
        while address:
            response = await self.call("GET", address)
            assert response.status == 200, response.status
            for task in await response.json():
                yield task
            address = str(response.links["next"]["url"]) if "Link" in response.headers else None

    def at(self, reference: str, base: URL | None = None) -> URL:
        return (base or self.base).join(URL(reference, encoded=True))


MakeCaller = Callable[..., Awaitable[Caller]]


@pytest.fixture(scope="package")
def deployed(service_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the service, run as it is deployed."""
    with served(tmp_path_factory.mktemp("service") / "log", DATABASE_URL=service_database_url) as (_, url):
        yield url


@pytest.fixture(scope="package", params=SERVERS)
def recommended(request: pytest.FixtureRequest, deployed: str) -> Iterator[str]:
    """The address of the service through a proxy with the file of docs/deployment."""
    with run_recommended(request.param, deployed) as url:
        yield url


@pytest.fixture
async def caller() -> AsyncIterator[MakeCaller]:
    """Makes a client of a proxy, for a new user or for this one. It receives hardly more than the test has read."""
    sessions: list[ClientSession] = []

    async def make(url: str, user: User | None = None, coding: str = "gzip") -> Caller:
        headers = {**(user or User(f"user-{uuid4()}")).headers, "Accept-Encoding": coding}
        connector = TCPConnector(ssl=trusting(), socket_factory=small_socket)
        timeout = ClientTimeout(total=TEST_TIMEOUT)
        session = ClientSession(headers=headers, connector=connector, timeout=timeout, auto_decompress=False)
        sessions.append(session)
        return Caller(session, URL(url))

    yield make
    for session in sessions:
        await session.close()
