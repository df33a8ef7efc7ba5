"""Settings: their defaults, their valid values, and error messages, which contain no secrets."""

import pytest

from tests.support.settings import SECRET, URL, Read, errors_of
from todo_service.settings import VARIABLES

KEY_SET = "https://issuer.example/keys"

DEFAULTS = {
    "database_url": URL,
    "database_pool_size": 4,
    "database_batch_size": 32,
    "database_timeout": 10,
    "database_statement_cache": 100,
    "jwt_secret": SECRET,
    "jwt_secret_previous": "",
    "jwt_jwks_url": "",
    "jwt_algorithms": (),
    "jwt_issuer": "",
    "jwt_audience": "",
    "jwt_leeway": 0,
    "cors_origins": (),
    "compression": "on",
    "docs": "on",
    "docs_token": "",
    "metrics_token": "",
    "host": "0.0.0.0",
    "port": 8080,
    "web_concurrency": 1,
    "log_level": "info",
}

VALID: list[tuple[str, str, object]] = [
    ("DATABASE_URL", "postgresql:///other", "postgresql:///other"),
    ("DATABASE_POOL_SIZE", "1", 1),
    ("DATABASE_POOL_SIZE", "100", 100),
    ("DATABASE_BATCH_SIZE", "1", 1),
    ("DATABASE_BATCH_SIZE", "1000", 1000),
    ("DATABASE_TIMEOUT", "1", 1),
    ("DATABASE_TIMEOUT", "300", 300),
    ("DATABASE_STATEMENT_CACHE", "0", 0),
    ("JWT_SECRET", "x" * 32, "x" * 32),
    ("JWT_SECRET", "é" * 16, "é" * 16),
    ("JWT_SECRET_PREVIOUS", "x" * 32, "x" * 32),
    ("JWT_ALGORITHMS", "HS256", ("HS256",)),
    ("JWT_ISSUER", "https://issuer.example/", "https://issuer.example/"),
    ("JWT_AUDIENCE", "todo", "todo"),
    ("JWT_LEEWAY", "30", 30),
    ("CORS_ORIGINS", "https://app.example.com", ("https://app.example.com",)),
    ("CORS_ORIGINS", " http://localhost:3000 , https://a.b, ", ("http://localhost:3000", "https://a.b")),
    ("COMPRESSION", "on", "on"),
    ("COMPRESSION", "off", "off"),
    ("DOCS", "on", "on"),
    ("DOCS", "off", "off"),
    ("METRICS_TOKEN", "sixteen-visible!", "sixteen-visible!"),
    ("HOST", "::1", "::1"),
    ("PORT", "1", 1),
    ("PORT", "65535", 65_535),
    ("WEB_CONCURRENCY", "64", 64),
    *(("LOG_LEVEL", level, level) for level in ("debug", "info", "warning", "error")),
]

NUMBERS = {
    "DATABASE_POOL_SIZE": (1, 100),
    "DATABASE_BATCH_SIZE": (1, 1000),
    "DATABASE_TIMEOUT": (1, 300),
    "DATABASE_STATEMENT_CACHE": (0, 10_000),
    "JWT_LEEWAY": (0, 300),
    "PORT": (1, 65_535),
    "WEB_CONCURRENCY": (1, 64),
}

INVALID = [
    *(("COMPRESSION", value, f"on or off, not '{value}'") for value in ("gzip", "ON", "true", "0", " on")),
    ("DOCS", "yes", "on or off"),
    ("METRICS_TOKEN", "fifteen-visible", "at least 16 visible ASCII characters"),
    ("METRICS_TOKEN", "sixteen and a gap", "at least 16 visible ASCII characters"),
    *(
        (name, value, f"a whole number from {low} to {high}, not '{value}'")
        for name, (low, high) in NUMBERS.items()
        for value in (str(low - 1), str(high + 1), "many", "1.5", "0x10", " ")
    ),
    ("LOG_LEVEL", "INFO", "debug, info, warning or error, not 'INFO'"),
    ("LOG_LEVEL", "trace", "debug, info, warning or error, not 'trace'"),
    *(
        ("JWT_JWKS_URL", url, f"an https address (http only for this machine itself), not '{url}'")
        for url in [
            "http://issuer.example/keys",
            "http://localhost.example/keys",
            "http://127.0.0.1@issuer.example/keys",
            "http://10.0.0.1/keys",
            "ftp://127.0.0.1/keys",
            "https:///keys",
            "https://issuer.example:port/keys",
            "https://[issuer/keys",
            "keys",
        ]
    ),
    ("JWT_ALGORITHMS", "none", "HS256 with a secret, or some of EdDSA,ES256,RS256 with a key set"),
    ("JWT_ALGORITHMS", "HS256,RS256", "HS256 with a secret, or some of EdDSA,ES256,RS256 with a key set"),
    ("JWT_ALGORITHMS", "hs256", "HS256 with a secret, or some of EdDSA,ES256,RS256 with a key set"),
    ("CORS_ORIGINS", "app", "origins as browsers send them, like https://app.example.com"),
    ("DATABASE_URL", "hidden", "like postgres://user:password@host:5432/name, with special characters"),
    *(
        (name, secret, "at least 32 bytes long")
        for name in ("JWT_SECRET", "BETTER_AUTH_SECRET", "JWT_SECRET_PREVIOUS")
        for secret in [
            "hidden",
            "hidden" + "x" * 25,
            "hidden" + "é" * 12,
            "hidden" + "\udcff" * 32,  # bytes that aren't UTF-8
        ]
    ),
]


def test_an_unset_variable_has_its_default(read: Read) -> None:
    assert vars(read()) == DEFAULTS


def test_an_empty_variable_counts_as_unset(read: Read) -> None:
    empty = {source: "" for variable in VARIABLES.values() for source in (variable.name, *variable.aliases)}
    assert vars(read(**empty | {"DATABASE_URL": URL, "JWT_SECRET": SECRET})) == DEFAULTS


@pytest.mark.parametrize(("name", "value", "expected"), VALID)
def test_a_valid_value_is_accepted(read: Read, name: str, value: str, expected: object) -> None:
    assert vars(read(**{name: value})) == DEFAULTS | {name.lower(): expected}


@pytest.mark.parametrize(("name", "value", "form"), INVALID)
def test_an_invalid_value_is_refused_with_the_valid_form(read: Read, name: str, value: str, form: str) -> None:
    required = {"DATABASE_URL": URL} | (
        {} if name in ("BETTER_AUTH_SECRET", "JWT_JWKS_URL") else {"JWT_SECRET": SECRET}
    )
    [sentence] = errors_of(read, only=True, **required | {name: value})
    assert sentence.startswith(f"{name} must be ")
    assert form in sentence


def test_every_variable_is_tested_with_valid_and_invalid_values() -> None:
    names = {variable.name for variable in VARIABLES.values() if not variable.internal}
    assert {name for name, _, _ in VALID} | {"JWT_JWKS_URL"} == names
    assert {name for name, _, _ in INVALID} | {"HOST", "JWT_ISSUER", "JWT_AUDIENCE"} == names | {"BETTER_AUTH_SECRET"}


def test_better_auth_secret_is_another_name_of_jwt_secret(read: Read) -> None:
    other = SECRET[::-1]
    assert read(only=True, DATABASE_URL=URL, BETTER_AUTH_SECRET=other).jwt_secret == other
    assert read(BETTER_AUTH_SECRET=other).jwt_secret == SECRET


def test_printed_settings_contain_no_secrets(read: Read) -> None:
    settings = read(JWT_SECRET_PREVIOUS=SECRET[::-1], EMBEDDED_DOCS_TOKEN="hidden", METRICS_TOKEN="hidden-" * 3)
    assert settings.docs_token == "hidden"
    for text in (repr(settings), str(settings), f"{settings}"):
        assert "hidden" not in text
        assert SECRET[::-1] not in text
        assert "db.example" not in text


@pytest.mark.parametrize(
    "url", [KEY_SET, "http://localhost:3000/keys", "http://127.0.0.2/keys", "http://[::1]:3000/keys"]
)
def test_a_key_set_replaces_the_secret(read: Read, url: str) -> None:
    settings = read(only=True, DATABASE_URL=URL, JWT_JWKS_URL=url)
    assert (settings.jwt_secret, settings.jwt_jwks_url) == ("", url)
    assert settings.algorithms == ("EdDSA", "ES256", "RS256")


@pytest.mark.parametrize("name", ["JWT_SECRET", "BETTER_AUTH_SECRET"])
def test_a_secret_and_a_key_set_together_are_refused(read: Read, name: str) -> None:
    [sentence] = errors_of(read, only=True, **{"DATABASE_URL": URL, name: SECRET, "JWT_JWKS_URL": KEY_SET})
    assert sentence == "JWT_SECRET (or BETTER_AUTH_SECRET) and JWT_JWKS_URL are both set: set one of them."


def test_the_address_of_a_pooler_needs_the_setting_for_poolers(read: Read) -> None:
    pooler = f"{URL}?pgbouncer=true"
    [sentence] = errors_of(read, DATABASE_URL=pooler)
    assert sentence == "DATABASE_URL names a pooler (pgbouncer=true): set DATABASE_STATEMENT_CACHE=0."
    assert read(DATABASE_URL=pooler, DATABASE_STATEMENT_CACHE="0").database_url == URL


def test_a_pooler_and_a_schema_in_the_address_are_refused_together(read: Read) -> None:
    schema = f"{URL}?search_path=todo"
    [sentence] = errors_of(read, DATABASE_URL=schema, DATABASE_STATEMENT_CACHE="0")
    assert "must not have search_path with DATABASE_STATEMENT_CACHE=0" in sentence
    assert "ALTER ROLE todo_service SET search_path = todo" in sentence
    assert read(DATABASE_URL=schema, DATABASE_STATEMENT_CACHE="100").database_url == schema


def test_algorithms_must_match_the_secret_or_the_key_set(read: Read) -> None:
    assert read().algorithms == ("HS256",)
    [sentence] = errors_of(read, JWT_ALGORITHMS="RS256")
    assert sentence.startswith("JWT_ALGORITHMS must be HS256 with a secret")
    key_set = {"JWT_SECRET": "", "JWT_JWKS_URL": KEY_SET}
    assert read(**key_set, JWT_ALGORITHMS="ES256, EdDSA").algorithms == ("ES256", "EdDSA")
    [sentence] = errors_of(read, **key_set, JWT_ALGORITHMS="HS256")
    assert sentence.startswith("JWT_ALGORITHMS must be HS256 with a secret")


def test_without_settings_the_errors_name_the_required_ones(read: Read) -> None:
    database, secret = errors_of(read, only=True)
    assert database.startswith("DATABASE_URL is not set")
    assert secret.startswith("JWT_SECRET is not set")


def test_all_invalid_settings_are_reported_at_once(read: Read) -> None:
    invalid = {"PORT": "x", "LOG_LEVEL": "x", "JWT_SECRET": "hidden", "CORS_ORIGINS": "*"}
    sentences = errors_of(read, only=True, **invalid)
    assert [sentence.split()[0] for sentence in sentences] == [
        "JWT_SECRET",
        "CORS_ORIGINS",
        "PORT",
        "LOG_LEVEL",
        "DATABASE_URL",
    ]


def test_only_the_requested_settings_are_read(read: Read) -> None:
    settings = read("database_url", only=True, DATABASE_URL=URL, PORT="x", JWT_SECRET="short")
    assert (settings.database_url, settings.port, settings.jwt_secret) == (URL, 8080, "")
