"""GET /health and /health/ready answer without a token and ignore the query."""

import pytest

from tests.support.api import Client

pytestmark = pytest.mark.database


@pytest.mark.parametrize("path", ["/health", "/health?probe=1", "/health/ready"])
async def test_health_needs_no_token_and_ignores_the_query(client: Client, path: str) -> None:
    response = await client.get(path)
    assert (response.status, await response.json()) == (200, {"status": "healthy"})
