"""The settings of the service. Each variable is documented once, here."""

import dataclasses
from dataclasses import dataclass

from todo_service.settings.database_url import FORM, parse_database_url
from todo_service.settings.origins import parse_origins
from todo_service.settings.values import (
    METRICS_TOKEN_LENGTH,
    PUBLIC_KEY_ALGORITHMS,
    SECRET_ALGORITHMS,
    SECRET_BYTES,
    parse_algorithms,
    parse_key_set_url,
    parse_metrics_token,
    parse_secret,
)
from todo_service.settings.variables import Variable, choice, number, variable


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the service. Its repr contains no secrets."""

    database_url: str = variable(
        "DATABASE_URL",
        "like `postgres://user:password@host:port/name?sslmode=verify-full`; parameters are optional",
        expected=f"{FORM}, with special characters in user and password as %XX",
        parse=parse_database_url,
        secret=True,
    )
    database_pool_size: int = number("DATABASE_POOL_SIZE", "PostgreSQL connections of each worker", 1, 100, default=4)
    database_batch_size: int = number(
        "DATABASE_BATCH_SIZE",
        "how many requests may share a round trip to the database; `1` turns batching off",
        1,
        1000,
        default=32,
    )
    database_timeout: int = number(
        "DATABASE_TIMEOUT", "seconds that a request may wait for the database", 1, 300, default=10
    )
    database_statement_cache: int = number(
        "DATABASE_STATEMENT_CACHE",
        "how many prepared statements each connection keeps; set `0` behind a pooler in transaction mode",
        0,
        10_000,
        default=100,
    )
    jwt_secret: str = variable(
        "JWT_SECRET",
        "the secret that tokens are signed with (HS256); also read from `BETTER_AUTH_SECRET`",
        aliases=("BETTER_AUTH_SECRET",),
        expected=f"at least {SECRET_BYTES} bytes long; `openssl rand -base64 48` makes a good one",
        parse=parse_secret,
        secret=True,
        default="",
    )
    jwt_secret_previous: str = variable(
        "JWT_SECRET_PREVIOUS",
        "the previous secret; while it is set, the service also accepts tokens that are signed with it",
        expected=f"at least {SECRET_BYTES} bytes long",
        parse=parse_secret,
        secret=True,
        default="",
    )
    jwt_jwks_url: str = variable(
        "JWT_JWKS_URL",
        "the address of the issuer's key set (RFC 7517); set either this or `JWT_SECRET`",
        expected="an https address (http only for this machine itself)",
        parse=parse_key_set_url,
        default="",
    )
    jwt_algorithms: tuple[str, ...] = variable(
        "JWT_ALGORITHMS",
        "the accepted algorithms, separated by commas; the default is `HS256` with a secret, and all of "
        "`EdDSA,ES256,RS256` with a key set",
        expected=f"{SECRET_ALGORITHMS[0]} with a secret, or some of {','.join(PUBLIC_KEY_ALGORITHMS)} with a key set",
        parse=parse_algorithms,
        default=(),
    )
    jwt_issuer: str = variable("JWT_ISSUER", "the `iss` that every token must have", default="")
    jwt_audience: str = variable(
        "JWT_AUDIENCE", "the `aud` that every token must have; if empty, tokens with an `aud` are refused", default=""
    )
    jwt_leeway: int = number(
        "JWT_LEEWAY",
        "seconds by which the clocks of issuer and service may differ (for `nbf`, at least 5)",
        0,
        300,
        default=0,
    )
    cors_origins: tuple[str, ...] = variable(
        "CORS_ORIGINS",
        "the origins whose pages may call the API, like `https://app.example.com` or `tauri://localhost`, separated by "
        "commas",
        parse=parse_origins,
        default=(),
    )
    compression: str = choice(
        "COMPRESSION",
        "`on` or `off`: whether to compress responses of 8 KiB or more for clients that accept gzip",
        ("on", "off"),
        default="on",
    )
    docs: str = choice(
        "DOCS",
        "`on` or `off`: whether to serve the page `/docs` and the description `/openapi.json`",
        ("on", "off"),
        default="on",
    )
    docs_token: str = variable(
        "EMBEDDED_DOCS_TOKEN",
        "the token that the docs page fills in; `serve --embedded` sets it for its own service",
        secret=True,
        internal=True,
        default="",
    )
    metrics_token: str = variable(
        "METRICS_TOKEN",
        "the bearer token that Prometheus must send to get `/metrics`; if empty, `/metrics` is public",
        expected=f"at least {METRICS_TOKEN_LENGTH} visible ASCII characters",
        parse=parse_metrics_token,
        secret=True,
        default="",
    )
    host: str = variable("HOST", "the address to listen on; `127.0.0.1` with `--embedded`", default="0.0.0.0")
    port: int = number("PORT", "the port to listen on", 1, 65_535, default=8080)
    web_concurrency: int = number("WEB_CONCURRENCY", "worker processes", 1, 64, default=1)
    log_level: str = choice(
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
