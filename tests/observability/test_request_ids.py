"""Request ids: every response has one, and clients can send their own."""

import re

import pytest

from tests.support.api import JSON, TASKS, Api, Client

pytestmark = pytest.mark.database


@pytest.mark.parametrize("given", ["abc-123", "0af7651916cd43dd8448eb211c80319c", "a/b:c+d=e.f_g", "x" * 128])
async def test_a_valid_request_id_of_the_client_is_used(client: Client, given: str) -> None:
    response = await client.get("/health", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a;b", "é", "a,b"])
async def test_an_invalid_request_id_is_replaced_by_a_random_one(client: Client, given: str) -> None:
    ids = {(await client.get("/health", headers={"X-Request-ID": given})).headers["X-Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids)


async def test_every_response_has_a_request_id(owner: Api) -> None:
    client = owner.client
    for response in [
        await client.get("/nowhere"),
        await client.post("/health"),
        await client.get(TASKS),
        await client.options(TASKS, headers={"Origin": "x", "Access-Control-Request-Method": "GET"}),
        await owner.call("GET", "/api/export"),
        await owner.call("POST", TASKS, data=b"{", headers=JSON),
    ]:
        assert response.headers["X-Request-ID"]
