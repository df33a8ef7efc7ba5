"""Requests with an Idempotency-Key, and checks of their responses."""

from typing import Any

from aiohttp import ClientResponse

from tests.support.api import TASKS, Api, path_of, task_of

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
PAYLOAD = {"title": "Buy milk", "due_date": "2026-12-31T15:00:00Z"}
OTHER = {"title": "Buy bread"}


async def post(api: Api, payload: object = PAYLOAD, key: str = KEY) -> ClientResponse:
    return await api.call("POST", TASKS, json=payload, headers={"Idempotency-Key": key})


async def created(response: ClientResponse) -> dict[str, Any]:
    """Returns the task. Fails unless this is the response that created it."""
    assert response.status == 201, await response.text()
    assert "Idempotency-Replayed" not in response.headers
    return await located(response)


async def replayed(response: ClientResponse) -> dict[str, Any]:
    """Returns the task. Fails unless this is the response to a repeated request."""
    assert response.status == 200, await response.text()
    assert response.headers["Idempotency-Replayed"] == "true"
    return await located(response)


async def located(response: ClientResponse) -> dict[str, Any]:
    """Returns the task. Checks the headers that both responses have."""
    task = task_of(await response.json())
    assert response.content_type == "application/json"
    assert response.headers["Location"] == path_of(task)
    assert response.headers["ETag"] == f'"{task["revision"]}"'
    return task
