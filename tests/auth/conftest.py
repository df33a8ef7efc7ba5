"""Fixtures of the tests of tokens: a clock, an issuer, and a verifier with the issuer's keys."""

from collections.abc import AsyncIterator

import pytest
from pytest_aiohttp import AiohttpServer

from tests.support.issuer import Issuer
from tests.support.tokens import Clock, key_set_settings
from todo_service.auth import key_set, tokens
from todo_service.auth.tokens import Verifier


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (tokens, key_set):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def issuer_url(issuer: Issuer, aiohttp_server: AiohttpServer) -> str:
    server = await aiohttp_server(issuer.app())
    return str(server.make_url("/keys"))


@pytest.fixture
async def verifier(issuer_url: str) -> AsyncIterator[Verifier]:
    """A verifier that fetches its keys from the issuer."""
    verifier = Verifier(key_set_settings(issuer_url))
    yield verifier
    await verifier.close()
