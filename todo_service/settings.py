"""The settings: read from environment variables into one frozen object. Each variable is documented once, here."""

import dataclasses
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jwt import InvalidKeyError
from jwt.algorithms import HMACAlgorithm

SECRET_ALGORITHMS = ("HS256",)
PUBLIC_KEY_ALGORITHMS = ("EdDSA", "ES256", "RS256")
METRICS_TOKEN_LENGTH = 16
SECRET_BYTES = 32  # RFC 7518, section 3.2: a key for HS256 is at least as long as the hash

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

# Parameters that hosting platforms add to a DATABASE_URL. asyncpg would send them to the server, which refuses them. It
# is safe to leave them out: they configure how libpq connects, or are meant for other libraries.
LIBPQ_ONLY_PARAMETERS = re.compile(
    r"channel_binding|client_encoding|connect_timeout|fallback_application_name|gssdelegation|gssencmode|keepalives\w*|"
    r"load_balance_hosts|sslcompression|sslsni|tcp_user_timeout|"
    r"pgbouncer|connection_limit|pool_timeout|statement_cache_size|supa"
)


class SettingsError(Exception):
    """The environment is incomplete or wrong. The message says what to change, in one sentence for each mistake."""


def is_loopback(host: str) -> bool:
    """Whether a host (name or address) is a loopback address, which other machines can't reach."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _require(condition: bool) -> None:
    """Raises a ValueError without a message. `_read` makes the message from the variable's `expected`."""
    if not condition:
        raise ValueError


def _parse_database_url(value: str) -> str:
    parts = urlsplit(value)
    _require(parts.scheme in ("postgres", "postgresql") and len(parts.path) > 1)
    user, _, hosts = parts.netloc.rpartition("@")
    _require("@" not in user)  # asyncpg would read the end of the password as the host
    for host in hosts.split(","):
        _ = urlsplit(f"//{host}").port  # raises ValueError if it is not a number
    query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    _require(all(mode in SSL_MODES for mode in query.get("sslmode", ())))
    address, mark, parameters = value.partition("?")
    kept = [each for each in parameters.split("&") if not LIBPQ_ONLY_PARAMETERS.fullmatch(each.partition("=")[0])]
    return address + mark * bool(kept) + "&".join(kept)


def _parse_secret(value: str) -> str:
    _require(len(value.encode()) >= SECRET_BYTES)
    HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(value)  # refuses a public key
    return value


def _parse_key_set_url(value: str) -> str:
    parts = urlsplit(value)
    _ = parts.port  # raises ValueError if it is not a number
    _require(bool(parts.hostname))
    _require(parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")))
    return value


def _parse_metrics_token(value: str) -> str:
    _require(len(value) >= METRICS_TOKEN_LENGTH and re.fullmatch("[!-~]+", value) is not None)
    return value


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _parse_algorithms(value: str) -> tuple[str, ...]:
    algorithms = _split(value)
    _require(set(algorithms) <= set(SECRET_ALGORITHMS) or set(algorithms) <= set(PUBLIC_KEY_ALGORITHMS))
    return algorithms


def _parse_origins(value: str) -> tuple[str, ...]:
    origins = _split(value)
    _require(all(re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", origin) for origin in origins))
    return origins


@dataclass(frozen=True)
class Variable:
    """The environment variable of a setting.

    `parse` raises ValueError for a wrong value, and `expected` describes the right values. `aliases` are other names of
    the variable. An internal variable is not documented: one process of the service sets it for another.
    """

    name: str
    text: str
    parse: Callable[[str], Any]
    expected: str
    secret: bool
    aliases: tuple[str, ...]
    internal: bool


def _variable(
    name: str,
    text: str,
    *,
    parse: Callable[[str], Any] = str,
    expected: str = "",
    secret: bool = False,
    aliases: tuple[str, ...] = (),
    internal: bool = False,
    **default: Any,
) -> Any:
    variable = Variable(name, text, parse, expected, secret, aliases, internal)
    return dataclasses.field(metadata={"variable": variable}, repr=not secret, **default)


def _number(name: str, text: str, low: int, high: int, default: int) -> Any:
    def parse(value: str) -> int:
        number = int(value)
        _require(low <= number <= high)
        return number

    limits = f"{low:,} to {high:,}"
    return _variable(
        name, f"{text}; {limits}", parse=parse, expected=f"a whole number from {low} to {high}", default=default
    )


def _choice(name: str, text: str, choices: tuple[str, ...], default: str) -> Any:
    def parse(value: str) -> str:
        _require(value in choices)
        return value

    expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return _variable(name, text, parse=parse, expected=expected, default=default)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the service. Its repr contains no secrets."""

    database_url: str = _variable(
        "DATABASE_URL",
        "like `postgres://user:password@host:port/name?sslmode=verify-full`; parameters are optional",
        expected="like postgres://user:password@host:5432/name, with special characters in user and password as %XX; "
        f"the parameter sslmode, if present, must be {', '.join(SSL_MODES[:-1])} or {SSL_MODES[-1]}",
        parse=_parse_database_url,
        secret=True,
    )
    database_pool_size: int = _number("DATABASE_POOL_SIZE", "PostgreSQL connections of each worker", 1, 100, default=4)
    database_batch_size: int = _number(
        "DATABASE_BATCH_SIZE",
        "how many requests may share a round trip to the database; `1` turns batching off",
        1,
        1000,
        default=32,
    )
    database_timeout: int = _number(
        "DATABASE_TIMEOUT", "seconds that a request may wait for the database", 1, 300, default=10
    )
    database_statement_cache: int = _number(
        "DATABASE_STATEMENT_CACHE",
        "how many prepared statements each connection keeps; set `0` behind a pooler in transaction mode",
        0,
        10_000,
        default=100,
    )
    jwt_secret: str = _variable(
        "JWT_SECRET",
        "the secret that tokens are signed with (HS256); also read from `BETTER_AUTH_SECRET`",
        aliases=("BETTER_AUTH_SECRET",),
        expected=f"at least {SECRET_BYTES} bytes long; `openssl rand -base64 48` makes a good one",
        parse=_parse_secret,
        secret=True,
        default="",
    )
    jwt_secret_previous: str = _variable(
        "JWT_SECRET_PREVIOUS",
        "the previous secret; while it is set, the service also accepts tokens that are signed with it",
        expected=f"at least {SECRET_BYTES} bytes long",
        parse=_parse_secret,
        secret=True,
        default="",
    )
    jwt_jwks_url: str = _variable(
        "JWT_JWKS_URL",
        "the address of the issuer's key set (RFC 7517); set either this or `JWT_SECRET`",
        expected="an https address (http only for this machine itself)",
        parse=_parse_key_set_url,
        default="",
    )
    jwt_algorithms: tuple[str, ...] = _variable(
        "JWT_ALGORITHMS",
        "the accepted algorithms, separated by commas; the default is `HS256` with a secret, and all of "
        "`EdDSA,ES256,RS256` with a key set",
        expected=f"{SECRET_ALGORITHMS[0]} with a secret, or some of {','.join(PUBLIC_KEY_ALGORITHMS)} with a key set",
        parse=_parse_algorithms,
        default=(),
    )
    jwt_issuer: str = _variable("JWT_ISSUER", "the `iss` that every token must have", default="")
    jwt_audience: str = _variable(
        "JWT_AUDIENCE", "the `aud` that every token must have; if empty, tokens with an `aud` are refused", default=""
    )
    jwt_leeway: int = _number(
        "JWT_LEEWAY", "seconds by which the clocks of issuer and service may differ", 0, 300, default=0
    )
    cors_origins: tuple[str, ...] = _variable(
        "CORS_ORIGINS",
        "the origins whose pages may call the API, like `https://app.example.com`, separated by commas",
        expected="origins as browsers send them, like https://app.example.com: in lower case, without a path or slash "
        "at the end, separated by commas",
        parse=_parse_origins,
        default=(),
    )
    compression: str = _choice(
        "COMPRESSION",
        "`on` or `off`: whether to compress responses of about 8 KB or more for clients that accept gzip",
        ("on", "off"),
        default="on",
    )
    docs: str = _choice(
        "DOCS",
        "`on` or `off`: whether to serve the page `/docs` and the description `/openapi.json`",
        ("on", "off"),
        default="on",
    )
    docs_token: str = _variable(
        "EMBEDDED_DOCS_TOKEN",
        "the token that the docs page fills in; `serve --embedded` sets it for its own service",
        secret=True,
        internal=True,
        default="",
    )
    metrics_token: str = _variable(
        "METRICS_TOKEN",
        "the bearer token that Prometheus must send to get `/metrics`; if empty, `/metrics` is public",
        expected=f"at least {METRICS_TOKEN_LENGTH} visible ASCII characters",
        parse=_parse_metrics_token,
        secret=True,
        default="",
    )
    host: str = _variable("HOST", "the address to listen on; `127.0.0.1` with `--embedded`", default="0.0.0.0")
    port: int = _number("PORT", "the port to listen on", 1, 65_535, default=8080)
    web_concurrency: int = _number("WEB_CONCURRENCY", "worker processes", 1, 64, default=1)
    log_level: str = _choice(
        "LOG_LEVEL", "`debug`, `info`, `warning` or `error`", ("debug", "info", "warning", "error"), default="info"
    )

    @property
    def has_pooler(self) -> bool:
        """Whether there is a pooler in transaction mode between the service and PostgreSQL."""
        return self.database_statement_cache == 0

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The accepted signature algorithms: those of secrets or those of public keys (RFC 8725, section 3.1)."""
        return self.jwt_algorithms or (PUBLIC_KEY_ALGORITHMS if self.jwt_jwks_url else SECRET_ALGORITHMS)


VARIABLES: dict[str, Variable] = {field.name: field.metadata["variable"] for field in dataclasses.fields(Settings)}


def read_settings(*names: str) -> Settings:
    """Reads all settings from the environment, or only those in `names`.

    An empty variable counts as not set. Raises SettingsError, whose message names each missing or wrong variable with
    its right values. The message never contains a secret.
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
    sentences = [*mistakes.values(), *_contradictions(settings, valid)]
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
    except (ValueError, InvalidKeyError):
        found = "" if variable.secret else f", not {os.environ[source]!r}"
        raise SettingsError(f"{source} must be {variable.expected}{found}.") from None


def _contradictions(settings: Settings, names: list[str]) -> list[str]:
    mistakes = []
    if "database_url" in names and not settings.database_url:
        mistakes.append(
            "DATABASE_URL is not set: set it to a PostgreSQL database, like postgres://user:password@host:5432/name, "
            "or try the service with `todo-service serve --embedded`."
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
