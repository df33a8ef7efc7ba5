"""docs/operations.md, "Rotate the secret": in this order, the steps log out no user."""

from dataclasses import replace

import pytest
from pytest_aiohttp import AiohttpClient

from tests.support.api import TASKS, Api
from todo_service.app import create_app
from todo_service.auth.tokens import sign_token
from todo_service.settings import Settings

pytestmark = pytest.mark.database

OLD = "the secret that tokens were signed with until now"
NEW = "the secret that tokens are signed with from now on"

STEPS = {
    "before": (OLD, "", {OLD: 200, NEW: 401}),
    "1: the service has both secrets": (NEW, OLD, {OLD: 200, NEW: 200}),
    "3: the service has the new secret only": (NEW, "", {OLD: 401, NEW: 200}),
}
"""The service's secrets in each step, and the statuses for tokens that are signed with the old and the new one."""


@pytest.mark.parametrize(("secret", "previous", "answers"), STEPS.values(), ids=STEPS)
async def test_each_step_accepts_tokens_of_the_documented_secrets(
    aiohttp_client: AiohttpClient, settings: Settings, secret: str, previous: str, answers: dict[str, int]
) -> None:
    client = await aiohttp_client(create_app(replace(settings, jwt_secret=secret, jwt_secret_previous=previous)))
    for signed_with, expected in answers.items():
        response = await Api(client, "alice", sign_token(signed_with, "alice", days=1)).call("GET", TASKS)
        assert response.status == expected
