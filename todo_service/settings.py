"""The settings: environment variables in, one frozen object out. Every variable is documented once, here."""

import dataclasses
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from environs import Env
from jwt import InvalidKeyError
from jwt.algorithms import HMACAlgorithm
from marshmallow import ValidationError
from marshmallow.validate import OneOf, Range

SECRET_ALGORITHMS = ("HS256",)
PUBLIC_KEY_ALGORITHMS = ("EdDSA", "ES256", "RS256")
METRICS_TOKEN_LENGTH = 16
SECRET_BYTES = 32  # RFC 7518, section 3.2: a key for HS256 is at least as long as the hash

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

# What hosts put into a DATABASE_URL and asyncpg doesn't know: it would pass it on to the server, which refuses it.
# Only what can be left out without harm: how libpq connects, and what is meant for other libraries.
NOT_FOR_US = re.compile(
    r"channel_binding|client_encoding|connect_timeout|fallback_application_name|gssdelegation|gssencmode|keepalives\w*|"
    r"load_balance_hosts|sslcompression|sslsni|tcp_user_timeout|"
    r"pgbouncer|connection_limit|pool_timeout|statement_cache_size|supa"
)


class SettingsError(Exception):
    """The environment is incomplete or wrong; the message says, a sentence each, what to mend."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, which the network can't listen to."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check(condition: bool) -> None:
    if not condition:
        raise ValidationError("")  # `expected` below is the message


def _database_url(value: str) -> None:
    parts = urlsplit(value)
    _check(parts.scheme in ("postgres", "postgresql") and len(parts.path) > 1)
    user, _, hosts = parts.netloc.rpartition("@")
    _check("@" not in user)  # asyncpg would take what follows it, of the password, for the host
    for host in hosts.split(","):
        _ = urlsplit(f"//{host}").port  # raises ValueError when it is no number
    query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    _check(all(mode in SSL_MODES for mode in query.get("sslmode", ())))


def _without_foreign_parameters(url: str) -> str:
    address, mark, query = url.partition("?")
    kept = [parameter for parameter in query.split("&") if not NOT_FOR_US.fullmatch(parameter.partition("=")[0])]
    return address + mark * bool(kept) + "&".join(kept)


def _secret(value: str) -> None:
    _check(len(value.encode()) >= SECRET_BYTES)
    HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(value)  # refuses what is a public key


def _key_set_url(value: str) -> None:
    parts = urlsplit(value)
    _ = parts.port  # raises ValueError when it is no number
    _check(bool(parts.hostname))
    _check(parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")))


def _metrics_token(value: str) -> None:
    _check(len(value) >= METRICS_TOKEN_LENGTH and re.fullmatch("[!-~]+", value) is not None)


def _algorithms(value: list[str]) -> None:
    _check(set(value) <= set(SECRET_ALGORITHMS) or set(value) <= set(PUBLIC_KEY_ALGORITHMS))


def _origins(value: list[str]) -> None:
    _check(all(re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", origin) for origin in value))


@dataclass(frozen=True)
class Variable:
    """Where a setting comes from: the variable's name, what it means, what it may be, and other names for it."""

    name: str
    text: str
    kind: str
    expected: str
    validate: Callable[[Any], object]
    secret: bool
    aliases: tuple[str, ...]


def _variable(
    name: str,
    text: str,
    *,
    kind: str = "str",
    expected: str = "",
    validate: Callable[[Any], object] = lambda value: None,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
    **default: Any,
) -> Any:
    variable = Variable(name, text, kind, expected, validate, secret, aliases)
    return dataclasses.field(metadata={"variable": variable}, repr=not secret, **default)


def _number(name: str, text: str, low: int, high: int, default: int) -> Any:
    expected = f"a whole number from {low} to {high}"
    return _variable(name, text, kind="int", expected=expected, validate=Range(low, high), default=default)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the service can be told. Secrets don't show in its repr."""

    database_url: str = _variable(
        "DATABASE_URL",
        "`postgres://user:password@host:port/name`, with `sslmode` and the like as libpq has them",
        expected="like postgres://user:password@host:5432/name, all special characters in the user and the password "
        f"as %XX, and an sslmode, if there is one, {', '.join(SSL_MODES[:-1])} or {SSL_MODES[-1]}",
        validate=_database_url,
        secret=True,
    )
    database_pool_size: int = _number("DATABASE_POOL_SIZE", "connections of each worker", 1, 100, default=4)
    database_batch_size: int = _number(
        "DATABASE_BATCH_SIZE",
        "requests that may share a round trip to the database; 1 to share none",
        1,
        1000,
        default=32,
    )
    database_timeout: int = _number(
        "DATABASE_TIMEOUT", "seconds that a request may wait for the database", 1, 300, default=10
    )
    database_statement_cache: int = _number(
        "DATABASE_STATEMENT_CACHE",
        "prepared statements kept by each connection; 0 behind a pooler in transaction mode",
        0,
        10_000,
        default=100,
    )
    jwt_secret: str = _variable(
        "JWT_SECRET",
        "the secret that tokens are signed with (HS256); also read from `BETTER_AUTH_SECRET`",
        aliases=("BETTER_AUTH_SECRET",),
        expected=f"at least {SECRET_BYTES} bytes long; `openssl rand -base64 48` makes a good one",
        validate=_secret,
        secret=True,
        default="",
    )
    jwt_secret_previous: str = _variable(
        "JWT_SECRET_PREVIOUS",
        "the secret before that one, accepted as long as it is set",
        expected=f"at least {SECRET_BYTES} bytes long",
        validate=_secret,
        secret=True,
        default="",
    )
    jwt_jwks_url: str = _variable(
        "JWT_JWKS_URL",
        "instead of a secret: where the issuer publishes its key set (RFC 7517)",
        expected="an https address (http only for this machine itself)",
        validate=_key_set_url,
        default="",
    )
    jwt_algorithms: tuple[str, ...] = _variable(
        "JWT_ALGORITHMS",
        "comma-separated: fewer algorithms than `HS256` with a secret, `EdDSA,ES256,RS256` with a key set",
        kind="list",
        expected=f"{SECRET_ALGORITHMS[0]} with a secret, or some of {','.join(PUBLIC_KEY_ALGORITHMS)} with a key set",
        validate=_algorithms,
        default=(),
    )
    jwt_issuer: str = _variable("JWT_ISSUER", "the `iss` that every token must have", default="")
    jwt_audience: str = _variable(
        "JWT_AUDIENCE",
        "the `aud` that every token must have; without it a token with an `aud` is refused",
        default="",
    )
    jwt_leeway: int = _number("JWT_LEEWAY", "seconds by which clocks may differ", 0, 300, default=0)
    cors_origins: tuple[str, ...] = _variable(
        "CORS_ORIGINS",
        "comma-separated origins whose pages may call, like `https://app.example.com`",
        kind="list",
        expected="origins as browsers send them, like https://app.example.com: in lower case, without a path or slash "
        "at the end, separated by commas",
        validate=_origins,
        default=(),
    )
    docs: str = _variable(
        "DOCS",
        "`on` or `off`: whether there are the page `/docs` and the description `/openapi.json`",
        expected="on or off",
        validate=OneOf(["on", "off"]),
        default="on",
    )
    docs_token: str = _variable(
        "DOCS_TOKEN",
        "a token that the page fills in, for trying things on this machine; `--embedded` sets it",
        secret=True,
        default="",
    )
    metrics_token: str = _variable(
        "METRICS_TOKEN",
        "what Prometheus must send as its bearer token to get `/metrics`; without it anybody gets them",
        expected=f"at least {METRICS_TOKEN_LENGTH} visible ASCII characters",
        validate=_metrics_token,
        secret=True,
        default="",
    )
    host: str = _variable("HOST", "the address to listen on; `127.0.0.1` with `--embedded`", default="0.0.0.0")
    port: int = _number("PORT", "the port to listen on", 1, 65_535, default=8080)
    web_concurrency: int = _number("WEB_CONCURRENCY", "worker processes", 1, 64, default=1)
    log_level: str = _variable(
        "LOG_LEVEL",
        "`debug`, `info`, `warning` or `error`",
        expected="debug, info, warning or error",
        validate=OneOf(["debug", "info", "warning", "error"]),
        default="info",
    )

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The signature algorithms, pinned here and never of both families (RFC 8725, section 3.1)."""
        return self.jwt_algorithms or (PUBLIC_KEY_ALGORITHMS if self.jwt_jwks_url else SECRET_ALGORITHMS)


VARIABLES: dict[str, Variable] = {field.name: field.metadata["variable"] for field in dataclasses.fields(Settings)}


def read_settings(*names: str) -> Settings:
    """Reads from the environment what serving needs; or only the fields that are named, leaving the others alone.

    A variable that is set to nothing counts as not set. Raises SettingsError, which names every variable that is
    missing or wrong and what would be right, and never a secret.
    """
    values: dict[str, Any] = {"database_url": ""}
    mistakes: dict[str, str] = {}
    for name in names or VARIABLES:
        try:
            values |= _read(name)
        except SettingsError as mistake:
            mistakes[name] = str(mistake)
    settings = Settings(**values)
    good = [name for name in names or VARIABLES if name not in mistakes]
    sentences = [*mistakes.values(), *_contradictions(settings, good)]
    if sentences:
        raise SettingsError("\n".join(sentences))
    return settings


def _read(name: str) -> dict[str, Any]:
    variable = VARIABLES[name]
    source = next((source for source in (variable.name, *variable.aliases) if os.environ.get(source)), None)
    if source is None:
        return {}
    try:
        value = getattr(Env(), variable.kind)(source)
        if variable.kind == "list":
            value = tuple(part.strip() for part in value if part.strip())
        variable.validate(value)
    except (ValueError, ValidationError, InvalidKeyError):
        found = "" if variable.secret else f", not {os.environ[source]!r}"
        raise SettingsError(f"{source} must be {variable.expected}{found}.") from None
    return {name: _without_foreign_parameters(value) if name == "database_url" else value}


def _contradictions(settings: Settings, names: list[str]) -> list[str]:
    mistakes = []
    if "database_url" in names and not settings.database_url:
        mistakes.append(
            "DATABASE_URL is not set: set it to a PostgreSQL database, like postgres://user:password@host:5432/name, "
            "or try the service with `todo-service serve --embedded`."
        )
    if {"docs_token", "host"} <= set(names) and settings.docs_token and not is_loopback(settings.host):
        mistakes.append("DOCS_TOKEN is for this machine only: set HOST to 127.0.0.1 too, or leave DOCS_TOKEN out.")
    if {"jwt_secret", "jwt_jwks_url"} <= set(names):
        if settings.jwt_secret and settings.jwt_jwks_url:
            mistakes.append("JWT_SECRET (or BETTER_AUTH_SECRET) and JWT_JWKS_URL are both set: set one of them.")
        if not settings.jwt_secret and not settings.jwt_jwks_url:
            mistakes.append("JWT_SECRET is not set: set it, or JWT_JWKS_URL, so that tokens can be verified.")
        if not set(settings.algorithms) <= set(PUBLIC_KEY_ALGORITHMS if settings.jwt_jwks_url else SECRET_ALGORITHMS):
            mistakes.append(f"JWT_ALGORITHMS must be {VARIABLES['jwt_algorithms'].expected}.")
    return mistakes
