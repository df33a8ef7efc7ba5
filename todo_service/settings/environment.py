"""Reads settings from environment variables, and collects all mistakes into one error."""

import os
from typing import Any

from jwt import InvalidKeyError

from todo_service.settings.database_url import names_pooler, sets_schema
from todo_service.settings.settings import VARIABLES, Settings
from todo_service.settings.values import PUBLIC_KEY_ALGORITHMS, SECRET_ALGORITHMS, WrongValueError
from todo_service.settings.variables import Variable


class SettingsError(Exception):
    """The environment is incomplete or wrong. The message says what to change, in one sentence for each mistake."""


def read_settings(*names: str, direct: bool = False) -> Settings:
    """Reads all settings from the environment, or only those in `names`.

    With `direct`, DATABASE_URL is the database's own address, although the service may use a pooler. An empty variable
    counts as not set. Raises SettingsError, whose message names each missing or wrong variable with its right values.
    The message never contains a secret.
    """
    values: dict[str, Any] = {"database_url": ""}
    mistakes: dict[str, str] = {}
    for name in names or VARIABLES:
        try:
            values |= _read(name)
        except SettingsError as mistake:
            mistakes[name] = str(mistake)
    settings = Settings(**values)
    valid = [name for name in names or VARIABLES if name not in mistakes]
    sentences = [*mistakes.values(), *_contradictions(settings, valid, direct=direct)]
    if sentences:
        raise SettingsError("\n".join(sentences))
    return settings


def names_in_environment() -> list[str]:
    """The names of the settings whose variables are set."""
    return [name for name in VARIABLES if _source(VARIABLES[name])]


def _source(variable: Variable) -> str | None:
    return next((source for source in (variable.name, *variable.aliases) if os.environ.get(source)), None)


def _read(name: str) -> dict[str, Any]:
    variable = VARIABLES[name]
    source = _source(variable)
    if source is None:
        return {}
    try:
        return {name: variable.parse(os.environ[source])}
    except WrongValueError as error:
        sentences = [f"{source} must be {mistake}." for mistake in error.mistakes]
        raise SettingsError("\n".join(sentences)) from None
    except (ValueError, InvalidKeyError):
        found = "" if variable.secret else f", not {os.environ[source]!r}"
        raise SettingsError(f"{source} must be {variable.expected}{found}.") from None


def _contradictions(settings: Settings, names: list[str], *, direct: bool) -> list[str]:
    mistakes = []
    if "database_url" in names and not settings.database_url:
        mistakes.append(
            "DATABASE_URL is not set: set it to a PostgreSQL database, like postgres://user:password@host:5432/name, "
            "or try the service with `todo-service serve --embedded`."
        )
    if {"database_url", "database_statement_cache"} <= set(names) and not direct:
        if names_pooler(os.environ.get("DATABASE_URL", "")) and not settings.has_pooler:
            mistakes.append("DATABASE_URL names a pooler (pgbouncer=true): set DATABASE_STATEMENT_CACHE=0.")
        if sets_schema(settings.database_url) and settings.has_pooler:
            mistakes.append(
                "DATABASE_URL must not have search_path with DATABASE_STATEMENT_CACHE=0, because poolers refuse it: "
                "set it for the role, like ALTER ROLE todo_service SET search_path = todo."
            )
    if {"jwt_secret", "jwt_jwks_url"} <= set(names):
        if settings.jwt_secret and settings.jwt_jwks_url:
            mistakes.append("JWT_SECRET (or BETTER_AUTH_SECRET) and JWT_JWKS_URL are both set: set one of them.")
        if not settings.jwt_secret and not settings.jwt_jwks_url:
            mistakes.append("JWT_SECRET is not set: set it, or JWT_JWKS_URL, so that tokens can be verified.")
    if settings.jwt_secret or settings.jwt_jwks_url:
        allowed = PUBLIC_KEY_ALGORITHMS if settings.jwt_jwks_url else SECRET_ALGORITHMS
        if not set(settings.algorithms) <= set(allowed):
            mistakes.append(f"JWT_ALGORITHMS must be {VARIABLES['jwt_algorithms'].expected}.")
    return mistakes
