"""The parser of DATABASE_URL: keeps parameters that asyncpg understands, leaves out harmless ones, refuses the rest.

asyncpg sends unknown parameters to PostgreSQL, as settings of the server. PostgreSQL then refuses each connection, so
the service would start and never reach its database.
"""

import os
import re
import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_plus, urlsplit

from todo_service.settings.values import WrongValueError, one_of, require

FORM = "like postgres://user:password@host:5432/name"
SCHEMES = ("postgres", "postgresql")
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*(?::[a-z][a-z0-9+.-]*)?)://", re.ASCII | re.IGNORECASE)
NOT_ONLY_AN_ADDRESS = re.compile(r"['\"]|psql\s|(?:export\s+)?\w+=['\"]?\w+://")
KEY_AND_VALUE = re.compile(r"\w[\w ]*=")
NAME = re.compile(r"[a-z][a-z_.-]{0,39}", re.ASCII | re.IGNORECASE)  # other names may be parts of a secret

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")  # the weakest first
SSL = {"true": "require", "1": "require", "false": "", "0": ""} | {mode: mode for mode in SSL_MODES}
"""The sslmode for each value of `ssl`. `true` is read as by libpq. With `false`, the default stays: `prefer`."""

DIRECT_SSL_MODES = SSL_MODES[SSL_MODES.index("require") :]
VERIFYING_SSL_MODES = SSL_MODES[SSL_MODES.index("verify-ca") :]
FILES = ("sslrootcert", "sslcrl", "sslcert", "sslkey")
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

ASYNCPG_PARAMETERS = {
    *("host", "port", "user", "password", "passfile", "dbname", "database", "service", "target_session_attrs"),
    *("sslmode", "sslnegotiation", "sslrootcert", "sslcrl", "sslcert", "sslkey", "sslpassword"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib"),
}

SERVER_SETTINGS = {
    "options",  # any setting, and the name of the endpoint in some hosted databases
    "search_path",  # the schema of the tables
}

# Parameters of other clients. It is safe to leave them out: they only tune the client, or the service has its own value
# for them. Hosting platforms add some: channel_binding, supa, workaround.
IGNORED_PARAMETERS = {
    *("application_name", "fallback_application_name", "timezone", "adapter", "debug"),
    *("client_encoding", "encoding", "charset"),
    # libpq
    *("channel_binding", "gssdelegation", "load_balance_hosts", "max_protocol_version", "sslcompression", "sslsni"),
    # Prisma
    *("connection_limit", "pgbouncer", "statement_cache_size"),
    # node-postgres and postgres.js
    *("max", "min", "uselibpqcompat", "prepare", "fetch_types", "backoff", "max_pipeline"),
    # JDBC
    *("prepareThreshold", "preparedStatementCacheQueries", "preparedStatementCacheSizeMiB", "stringtype"),
    *("databaseMetadataCacheFields", "databaseMetadataCacheFieldsMiB", "reWriteBatchedInserts", "loggerLevel"),
    # asyncpg and SQLAlchemy
    *("min_size", "max_size", "max_queries", "max_overflow", "prepared_statement_cache_size", "jit", "plan_cache_mode"),
    # pgx and SQLx
    *("default_query_exec_mode", "statement_cache_capacity", "statement_cache_mode", "description_cache_capacity"),
    *("min_connections", "max_connections", "min_conns", "max_conns"),
    # Rails, Django, Ecto
    *("prepared_statements", "statement_limit", "reaping_frequency", "checkout_retries"),
    *("conn_max_age", "conn_health_checks", "queue_target", "queue_interval", "idle_interval"),
    # poolers of hosting platforms
    *("supa", "workaround"),
}
IGNORED_GROUPS = re.compile(r"pool\w*|\w*(?:timeout|lifetime)\w*|(?:tcp)?keepalives?\w*")
"""Names of pools, time limits and keepalives, in lower case and without _ and -."""

CHOICES = {
    "sslmode": SSL_MODES,
    "ssl": tuple(SSL),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": TLS_VERSIONS,
    "ssl_max_protocol_version": TLS_VERSIONS,
    "target_session_attrs": ("any", "primary", "read-write"),  # the service writes
    "gsslib": ("gssapi", "sspi"),
}
SCHEMAS = ("schema", "currentschema", "schemasearchpath")
ONLY_IF = dict.fromkeys(SCHEMAS, ("public",)) | {"gssencmode": ("disable", "prefer")}
"""Parameters of other clients that may be left out only with these values."""

PARTS = {"host": "host", "port": "host", "user": "user", "password": "password", "dbname": "name", "database": "name"}
"""asyncpg ignores these parameters if the address has this part. libpq would ignore the part."""


class Parameter(NamedTuple):
    text: str
    name: str
    value: str


def parse_database_url(value: str) -> str:
    """Returns the address for asyncpg. Raises ValueError, or WrongValueError, whose mistakes contain no values."""
    address, _, query = value.strip().partition("?")
    parameters = _read_parameters(query)
    values = {parameter.name: parameter.value for parameter in parameters if parameter.value}
    parts = _split_address(address, values)
    mistakes = [mistake for parameter in parameters if (mistake := _mistake_in(parameter, parts))]
    if mistakes:
        raise WrongValueError(*dict.fromkeys(f"{FORM}{mistake}" for mistake in mistakes))
    _check_hosts_and_ports(parts["host"] or values.get("host", ""), values.get("port", ""))
    kept = _strengthen_tls([parameter for parameter in parameters if not _is_ignored(parameter.name)])
    require(all("=" in parameter.text for parameter in kept) and "#" not in query)  # asyncpg would misread these
    _check_root_certificates(kept, values.get("sslrootcert", ""))
    if not parts["name"]:
        address = address.removesuffix("/")  # otherwise asyncpg would ignore dbname
    return "?".join([address, "&".join(parameter.text for parameter in kept)]) if kept else address


def _read_parameters(query: str) -> list[Parameter]:
    parts = [(text, *text.partition("=")) for text in query.split("&") if text]
    return [Parameter(text, unquote_plus(name), unquote_plus(value)) for text, name, _, value in parts]


def _split_address(address: str, values: dict[str, str]) -> dict[str, str]:
    """Returns the parts of the address."""
    if NOT_ONLY_AN_ADDRESS.match(address):
        raise WrongValueError(f"{FORM}: only the address, without quotes, a command or the name of a variable")
    scheme = SCHEME.match(address)
    if scheme and scheme[1].lower() not in SCHEMES:
        of_postgresql = re.search("postgres|psql|pgsql", scheme[1].lower())
        end = f": write postgres:// instead of {scheme[1]}://" if of_postgresql else f", not like {scheme[1]}://"
        raise WrongValueError(FORM + end)
    if not scheme and KEY_AND_VALUE.match(address):
        raise WrongValueError(f"{FORM}, not a list of names and values like host=localhost dbname=todo")
    split: SplitResult = urlsplit(address)
    credentials, _, host = split.netloc.rpartition("@")
    # Without this check, asyncpg would read the end of the password as the host or the name.
    require(split.scheme in SCHEMES and not split.fragment and "@" not in credentials + split.path)
    _check_hosts_and_ports(host, "")
    name = split.path.removeprefix("/")
    if re.search("[/;&]", name):
        raise WrongValueError(f"{FORM}, with parameters after ?, as in ?sslmode=require")
    if not name and not {"dbname", "database"} & values.keys():
        raise WrongValueError(f"{FORM}, with the name of a database at its end")
    user, _, password = credentials.partition(":")
    return {"host": host, "user": user, "password": password, "name": name}


def _check_hosts_and_ports(hosts: str, ports: str) -> None:
    hosts_with_ports = hosts.split(",") if hosts else []
    require(all(hosts_with_ports))
    for host in hosts_with_ports:
        if not host.startswith("/"):  # the directory of a Unix socket
            _ = urlsplit(f"//{host}").port  # raises ValueError if it is not a number
    numbers = ports.split(",") if ports else []
    require(all(re.fullmatch("[0-9]{1,5}", number) and int(number) < 65_536 for number in numbers))
    require(len(numbers) in {0, 1, len(hosts_with_ports)})


def _plain(name: str) -> str:
    """The name in the same spelling for all tools: pool_size, poolSize and pool-size are equal."""
    return re.sub("[_-]", "", name.lower())


IGNORED = {*ONLY_IF, *map(_plain, IGNORED_PARAMETERS)}


def _is_ignored(name: str) -> bool:
    return _plain(name) in IGNORED or IGNORED_GROUPS.fullmatch(_plain(name)) is not None


def _mistake_in(parameter: Parameter, parts: dict[str, str]) -> str | None:
    """The mistake in a parameter, as the end of a sentence, without its value."""
    name = parameter.name
    choices = CHOICES.get(name) or ONLY_IF.get(_plain(name))
    if choices and parameter.value not in choices:
        other = "; for another schema, write search_path" if _plain(name) in SCHEMAS else ""
        return f", and its parameter {name} must be {one_of(choices)}{other}"
    if name in FILES and not _is_usable(name, parameter.value):
        return f", and its parameter {name} must be an existing file in PEM form"
    if name in PARTS and parts[PARTS[name]]:
        part = PARTS[name]
        return f": the parameter {name} has no effect beside the {part} in the address, so write it there"
    if name in ASYNCPG_PARAMETERS or name in CHOICES or name in SERVER_SETTINGS or _is_ignored(name):
        return None
    known = f"the parameter {name}" if NAME.fullmatch(name) else "one of its parameters"
    if "ssl" in name.lower():
        return f": write sslmode={one_of(DIRECT_SSL_MODES)} instead of {known}"
    return (
        f", without {known}, which the service can't honour: leave it out, or write a setting of PostgreSQL into "
        "options, like options=-csearch_path%3Dtodo"
    )


def _strengthen_tls(parameters: list[Parameter]) -> list[Parameter]:
    """Replaces `ssl` and repeated `sslmode` by the strongest of their modes."""
    of_tls = [parameter for parameter in parameters if parameter.name in {"ssl", "sslmode"}]
    modes = [mode for parameter in of_tls if (mode := SSL[parameter.value])]
    mode = max(modes, key=SSL_MODES.index, default="")
    if ("sslnegotiation", "direct") in [parameter[1:] for parameter in parameters] and mode not in DIRECT_SSL_MODES:
        raise WrongValueError(f"{FORM}, and sslnegotiation=direct needs sslmode={one_of(DIRECT_SSL_MODES)}")
    if [parameter.name for parameter in of_tls] in ([], ["sslmode"]):
        return parameters
    others = [parameter for parameter in parameters if parameter not in of_tls]
    return [*others, Parameter(f"sslmode={mode}", "sslmode", mode)] if mode else others


def _check_root_certificates(parameters: list[Parameter], file: str) -> None:
    """Refuses a mode of TLS that asyncpg could not use: it opens the file only when it connects."""
    modes = [parameter.value for parameter in parameters if parameter.name == "sslmode"]
    file = file or os.environ.get("PGSSLROOTCERT") or str(Path("~/.postgresql/root.crt").expanduser())
    if modes and modes[0] in VERIFYING_SSL_MODES and not Path(file).is_file():
        raise WrongValueError(
            f"{FORM}, and sslmode={modes[0]} needs the certificates of authorities in a file, "
            "like sslrootcert=/etc/ssl/certs/ca-certificates.crt"
        )


def _is_usable(name: str, file: str) -> bool:
    """Whether a file exists, and has certificates if it must. asyncpg reads it only when it connects."""
    if name in {"sslcert", "sslkey"}:
        return Path(file).is_file()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError:  # SSLError, too
        return False
    return True


def names_pooler(value: str) -> bool:
    """Whether an address says that it is the address of a pooler, as Prisma's addresses do."""
    return any(parameter[1:] == ("pgbouncer", "true") for parameter in _read_parameters(value.partition("?")[2]))


def sets_schema(value: str) -> bool:
    """Whether an accepted address has the parameter search_path."""
    return any(parameter.name == "search_path" for parameter in _read_parameters(value.partition("?")[2]))
