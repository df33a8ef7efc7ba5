"""Requests with an Idempotency-Key, and checks of their responses."""

from typing import Any

from aiohttp import ClientResponse

from tests.support.api import TASKS, Api, task_of

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
PAYLOAD = {"title": "Buy milk", "due_date": "2026-12-31T15:00:00Z"}
OTHER = {"title": "Buy bread"}


async def post(api: Api, payload: object = PAYLOAD, key: str = KEY) -> ClientResponse:
    return await api.call("POST", TASKS, json=payload, headers={"Idempotency-Key": key})


async def assert_created(response: ClientResponse) -> dict[str, Any]:
    """Checks that this response created its task. Returns the task."""
    assert response.status == 201, await response.text()
    assert "Idempotency-Replayed" not in response.headers
    return await assert_located(response)


async def assert_replayed(response: ClientResponse) -> dict[str, Any]:
    """Checks that this is the response to a repeated request. Returns the task."""
    assert response.status == 200, await response.text()
    assert response.headers["Idempotency-Replayed"] == "true"
    return await assert_located(response)


async def assert_located(response: ClientResponse) -> dict[str, Any]:
    """Checks the headers that both responses have. Returns the task."""
    task = task_of(await response.json())
    assert response.content_type == "application/json"
    assert response.headers["Location"] == f"tasks/{task['id']}"
    assert response.headers["ETag"] == f'"{task["revision"]}"'
    return task
