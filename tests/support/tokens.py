"""Tokens for tests: keys, claims, a clock, an application that needs tokens, and checks of refusals."""

import re
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from tests.support.issuer import eddsa_key, es256_key, hmac_token, rs256_key
from todo_service.auth.middleware import USER_ID, authenticate, verifier_context
from todo_service.auth.tokens import Verifier
from todo_service.http.routes import Route, RouteTable
from todo_service.problems import Problem, problems
from todo_service.settings import Settings

SECRET = "a secret of more than 32 bytes, for tests only"
PREVIOUS = "the secret before, also more than 32 bytes long"
NOW = 1_800_000_000.0
HS256 = {"alg": "HS256", "typ": "JWT"}
EDDSA, EDDSA_2, ES256, RS256 = eddsa_key(kid="e"), eddsa_key(kid="e2"), es256_key(kid="p"), rs256_key(kid="r")
SMALL_RS256 = rs256_key(1024, kid="small")

# Texts in the `detail` of a response that refuses a token.
MALFORMED, ALG, SIGNATURE, CRIT_OR_B64 = (
    "is malformed",
    "`alg` is not accepted",
    "signature is wrong",
    "`crit` or `b64`",
)
EXP = "`exp` and `nbf` must be numbers"


class Clock:
    """Replaces the module `time`."""

    def __init__(self) -> None:
        self.now = NOW

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - NOW + 1000


def secret_settings(**values: Any) -> Settings:
    return Settings(**{"database_url": "", "jwt_secret": SECRET, **values})


def key_set_settings(url: str, **values: Any) -> Settings:
    return Settings(database_url="", jwt_jwks_url=url, **values)


def claims(**values: Any) -> dict[str, Any]:
    """Valid claims, changed by `values`; a claim whose value is `...` is left out."""
    members = {"sub": "ada", "exp": NOW + 60, **values}
    return {name: value for name, value in members.items() if value is not ...}


def valid_token(**values: Any) -> str:
    return hmac_token(SECRET, HS256, claims(**values))


def token_with_header(**members: Any) -> str:
    return hmac_token(SECRET, {**HS256, **members}, claims())


async def refusal_of(verifier: Verifier, token: str) -> str:
    """The detail of the 401 that this token gets. Checks its form, and the rest of the problem."""
    with pytest.raises(Problem) as raised:
        await verifier.verify(token)
    problem = raised.value
    assert problem.name == "unauthorized"
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+\.", problem.detail)
    assert not any(len(part) > 8 and part in problem.detail for part in token.split("."))
    assert problem.headers == {
        "WWW-Authenticate": f'Bearer realm="todo-service", error="invalid_token", error_description="{problem.detail}"'
    }
    return problem.detail


async def assert_unavailable(verifier: Verifier, token: str) -> None:
    """Checks that this token gets 503."""
    with pytest.raises(Problem) as raised:
        await verifier.verify(token)
    assert (raised.value.name, raised.value.headers) == ("unavailable", {"Retry-After": "1"})


async def client_for(aiohttp_client: AiohttpClient, settings: Settings) -> TestClient[Any, Any]:
    """A client of an application with the real middlewares. Its routes answer with the user's id, or `anonymous`."""

    async def name_user(request: web.Request) -> web.Response:
        return web.Response(text=request.get(USER_ID, "anonymous"))

    routes = RouteTable()
    app = web.Application(middlewares=[problems, authenticate(routes)])
    app.cleanup_ctx.append(verifier_context(settings))
    public = ["/health", "/health/ready", "/openapi.json", "/docs", "/docs/static/{name}"]
    routes.add(app, [Route("GET", "/api/me", name_user)])
    routes.add(app, [Route("GET", path, name_user, public=True) for path in public])
    app.router.add_get("/undeclared", name_user)
    return await aiohttp_client(app)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
