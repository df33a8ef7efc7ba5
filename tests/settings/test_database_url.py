"""DATABASE_URL as other tools write it: the service understands it, or refuses it and says what to write."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from asyncpg import connect_utils

from tests.support.settings import URL, Read, errors_of
from todo_service.settings.database_url import ASYNCPG_PARAMETERS, CHOICES, SERVER_SETTINGS, SSL_MODES

FORM = "DATABASE_URL must be like postgres://user:password@host:5432/name"
FILE = str(Path(__file__).with_name("certificate.pem"))
CREDENTIALS = "with special characters in user and password as %XX"

UNCHANGED = [
    "postgres://a.example:1,b.example:2/name?target_session_attrs=read-write",
    "postgres://us%40er:p%3A%2F%23%3F@[2001:db8::1]:5432/na%20me",
    "postgres://user@[::1]:1,[::2]/name",
    "POSTGRES://db.example/name",
    "postgresql:///name?host=/var/run/postgresql",
    "postgresql://user:hidden@/name?host=/cloudsql/project:region:instance&port=5433",
    "postgresql:///name?host=a.example,b.example&port=1,2&user=me&password=hidden&passfile=/pgpass",
    "postgresql://%2Fvar%2Frun%2Fpostgresql/name",
    "postgresql://user@%2Fvar%2Frun%2Fpostgresql:5433/name",
    "postgresql://db.example?dbname=name",
    "postgres://user@db.example/name?password=hidden",
    f"{URL}?options=-csearch_path%3Dtodo",
    f"{URL}?options=-c%20statement_timeout=5s",
    f"{URL}?search_path=todo",
    f"{URL}?sslmode=require&sslnegotiation=direct&ssl_min_protocol_version=TLSv1.3",
    f"{URL}?sslmode=verify-full&sslrootcert={FILE}&sslcert={FILE}&sslkey={FILE}&sslcrl={FILE}&sslpassword=hidden",
    f"{URL}?krbsrvname=postgres&gsslib=gssapi&service=todo",
    *(f"{URL}?sslmode={mode}" for mode in SSL_MODES),
]

# Parameters as they are written, and the rest that asyncpg gets.
LEFT_OUT = [
    # libpq and hosting platforms
    ("?sslmode=require&channel_binding=require", "?sslmode=require"),
    ("?channel_binding=require", ""),
    (f"?connect_timeout=10&sslmode=verify-full&sslrootcert={FILE}", f"?sslmode=verify-full&sslrootcert={FILE}"),
    ("?keepalives=1&keepalives_idle=5&target_session_attrs=read-write", "?target_session_attrs=read-write"),
    ("?options=endpoint%3Dx&supa=base-pooler.x&gssencmode=disable", "?options=endpoint%3Dx"),
    ("?client_encoding=utf8&fallback_application_name=x&load_balance_hosts=random&tcp_user_timeout=5", ""),
    ("?sslmode=require&workaround=supabase-pooler.vercel", "?sslmode=require"),
    ("?application_name=a%20b&TimeZone=Nope/Zone", ""),
    # Prisma
    ("?schema=public", ""),
    ("?schema=public&connection_limit=5&pool_timeout=0&socket_timeout=9&pgbouncer=false&statement_cache_size=0", ""),
    # node-postgres and postgres.js
    ("?max=10&idleTimeoutMillis=30000&connectionTimeoutMillis=0&keepAlive=true&statement_timeout=5000", ""),
    ("?uselibpqcompat=true&sslmode=require", "?sslmode=require"),
    ("?idle_timeout=20&max_lifetime=60&prepare=false&fetch_types=false&keep_alive=5", ""),
    # JDBC
    ("?currentSchema=public&ApplicationName=x&prepareThreshold=0&tcpKeepAlive=true&socketTimeout=9", ""),
    ("?preparedStatementCacheQueries=0&reWriteBatchedInserts=true&stringtype=unspecified&loginTimeout=2", ""),
    # SQLAlchemy and other libraries for Python
    ("?prepared_statement_cache_size=0&command_timeout=60&min_size=1&max_size=5&jit=off", ""),
    # pgx and SQLx
    ("?pool_max_conns=10&pool_max_conn_idle_time=30m&default_query_exec_mode=exec&statement-cache-capacity=0", ""),
    # Rails, Ecto and Django
    ("?pool=5&prepared_statements=false&encoding=unicode&reaping_frequency=10&checkout_timeout=5", ""),
    ("?pool_size=10&queue_target=50&timeout=15000&prepare=unnamed", ""),
    ("?conn_max_age=600&conn_health_checks=true", ""),
    # empty parameters
    ("?", ""),
    ("?&pgbouncer=false&", ""),
    ("?pgbouncer", ""),
    ("?sslmode=require&", "?sslmode=require"),
]

TLS = [
    ("?ssl=true", "?sslmode=require"),
    ("?ssl=1", "?sslmode=require"),
    ("?ssl=false", ""),
    ("?ssl=0", ""),
    *((f"?ssl={mode}", f"?sslmode={mode}") for mode in SSL_MODES),
    ("?ssl=true&sslmode=disable", "?sslmode=require"),
    ("?sslmode=prefer&ssl=true", "?sslmode=require"),
    ("?sslmode=verify-full&ssl=true", "?sslmode=verify-full"),
    (f"?ssl=true&sslmode=verify-full&sslrootcert={FILE}", f"?sslrootcert={FILE}&sslmode=verify-full"),
    ("?ssl=false&sslmode=require", "?sslmode=require"),
    ("?ssl=disable&sslmode=require", "?sslmode=require"),
    ("?sslmode=verify-ca&sslmode=disable", "?sslmode=verify-ca"),
    ("?ssl=true&sslnegotiation=direct", "?sslnegotiation=direct&sslmode=require"),
]

REFUSED_NAMES = [
    *("hostaddr", "require_auth", "requirepeer", "min_protocol_version", "replication", "targetServerType"),
    *("scram_client_key", "oauth_issuer", "role", "default_transaction_read_only", "readOnly", "Host", "x-table"),
]

# Parameters with a wrong value, and the end of the message.
REFUSED_VALUES = [
    ("sslmode", "disable, allow, prefer, require, verify-ca or verify-full"),
    ("sslmode=", "or verify-full"),
    ("sslmode=on", "or verify-full"),
    ("sslmode=no-verify", "or verify-full"),
    ("sslmode=verify_full", "or verify-full"),
    ("ssl=yes", "parameter ssl must be true, 1, false, 0, disable,"),
    ("ssl=no-verify", "parameter ssl must be true, 1, false, 0, disable,"),
    ("ssl", "parameter ssl must be true, 1, false, 0, disable,"),
    ("schema=hidden", "parameter schema must be public; for another schema, write search_path"),
    ("schema=", "parameter schema must be public; for another schema, write search_path"),
    ("currentSchema=hidden", "parameter currentSchema must be public; for another schema, write search_path"),
    ("gssencmode=require", "parameter gssencmode must be disable or prefer"),
    ("sslrootcert=system", "parameter sslrootcert must be an existing file in PEM form"),
    ("sslmode=require&sslcert=/hidden", "parameter sslcert must be an existing file in PEM form"),
    ("sslnegotiation=hidden", "parameter sslnegotiation must be postgres or direct"),
    ("sslnegotiation=direct", "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full"),
    ("sslnegotiation=direct&sslmode=prefer", "sslnegotiation=direct needs sslmode=require,"),
    ("ssl_min_protocol_version=SSLv3", "parameter ssl_min_protocol_version must be TLSv1, TLSv1.1,"),
    ("target_session_attrs=hidden", "parameter target_session_attrs must be any, primary or read-write"),
    ("target_session_attrs=read-only", "parameter target_session_attrs must be any, primary or read-write"),
    ("schema_search_path=hidden", "parameter schema_search_path must be public; for another schema, write search_path"),
    ("sslrootcert=" + __file__, "parameter sslrootcert must be an existing file in PEM form"),
    ("sslcrl=" + __file__, "parameter sslcrl must be an existing file in PEM form"),
    *(
        (f"{name}=x", f"write sslmode=require, verify-ca or verify-full instead of the parameter {name}")
        for name in (
            "sslMode",
            "SSLMODE",
            "ssl-mode",
            "ssl_require",
            "requiressl",
            "sslaccept",
            "sslcertmode",
            "useSSL",
        )
    ),
    ("Options=-cjit%3Doff", "without the parameter Options, which the service can't honour"),
    ("gsslib=hidden", "parameter gsslib must be gssapi or sspi"),
    (
        "host=/var/run/postgresql",
        "the parameter host has no effect beside the host in the address, so write it there",
    ),
    ("port=5433", "the parameter port has no effect beside the host in the address, so write it there"),
    ("user=hidden", "the parameter user has no effect beside the user in the address, so write it there"),
    (
        "password=hidden",
        "the parameter password has no effect beside the password in the address, so write it there",
    ),
    ("dbname=hidden", "the parameter dbname has no effect beside the name in the address, so write it there"),
    ("hid den=x", "without one of its parameters, which the service can't honour"),
    ("hid3en=x", "without one of its parameters, which the service can't honour"),
    ("=hidden", "without one of its parameters, which the service can't honour"),
    ("options=a#hidden", CREDENTIALS),
]

REFUSED_ADDRESSES = [
    ("mysql://user:hidden@db.example/name", ", not like mysql://"),
    ("mongodb+srv://user:hidden@db.example/name", ", not like mongodb+srv://"),
    ("postgres://db.example/name/?schema=public", ", with parameters after ?, as in ?sslmode=require"),
    ("postgres://db.example/name;sslmode=require", ", with parameters after ?, as in ?sslmode=require"),
    ("postgres://db.example/name&sslmode=require", ", with parameters after ?, as in ?sslmode=require"),
    ("postgres://user:hidden@//cloudsql/instance/name", ", with parameters after ?, as in ?sslmode=require"),
    (f"psql '{URL}'", ": only the address, without quotes, a command or the name of a variable"),
    (f"DATABASE_URL={URL}", ": only the address, without quotes, a command or the name of a variable"),
    (f"export DATABASE_URL='{URL}'", ": only the address, without quotes, a command or the name of a variable"),
    ("postgresql+asyncpg://user:hidden@db.example/name", ": write postgres:// instead of postgresql+asyncpg://"),
    ("jdbc:postgresql://db.example/name?user=hidden", ": write postgres:// instead of jdbc:postgresql://"),
    ("psql://user:hidden@db.example/name", ": write postgres:// instead of psql://"),
    ("prisma+postgres://db.example/?api_key=hidden", ": write postgres:// instead of prisma+postgres://"),
    (f'"{URL}"', ": only the address, without quotes, a command or the name of a variable"),
    (f"'{URL}'", ": only the address, without quotes, a command or the name of a variable"),
    ("host=db.example dbname=name password=hidden", ", not a list of names and values"),
    ("Host=db.example;Database=name;Password=hidden", ", not a list of names and values"),
    ("User Id=hidden;Server=db.example", ", not a list of names and values"),
    ("postgres://user:hidden@db.example", ", with the name of a database at its end"),
    ("postgres://user:hidden@db.example/", ", with the name of a database at its end"),
    ("postgres://user:hidden@db.example/?dbname=", ", with the name of a database at its end"),
    ("postgres://", ", with the name of a database at its end"),
    *(
        (url, f", {CREDENTIALS}")
        for url in [
            "hidden",
            "user:hidden@db.example/name",
            "postgres:user:hidden@db.example/name",
            "postgres://user:hidden@db.example:port/name",
            "postgres://user:hidden@db.example:65536/name",
            "postgres://user:hid@den@db.example/name",
            "postgres://user:hid/den@db.example/name",
            "postgres://user:1/hidden@db.example/name",
            "postgres://user:hid#den@db.example/name",
            "postgres://user:hid?den@db.example/name",
            "postgres://user:[hidden]@db.example/name",
            "postgres://user:hidden@[::1/name",
            "postgres://user:hidden@a.example:1,b.example:port/name",
            "postgres://user:hidden@a.example,,b.example/name",
            "postgres:///name?host=a.example,",
            "postgres:///name?host=a.example:port",
            "postgres:///name?host=a.example&port=hidden",
            "postgres:///name?host=a.example&port=65536",
            "postgres:///name?host=a.example&port=1,2",
            "postgres:///name?port=1,2",
        ]
    ),
]


def read_by_asyncpg(url: str) -> Any:
    """The hosts, and the other parts, that asyncpg reads from the address."""
    parse = vars(connect_utils)["_parse_connect_dsn_and_args"]
    return parse(**dict.fromkeys(inspect.signature(parse).parameters) | {"dsn": url})


@pytest.fixture(autouse=True)
def root_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of certificates, which verify-ca and verify-full need."""
    monkeypatch.setenv("PGSSLROOTCERT", FILE)


@pytest.mark.parametrize("url", UNCHANGED)
def test_an_address_that_asyncpg_understands_is_unchanged(read: Read, url: str) -> None:
    assert read(DATABASE_URL=url).database_url == url


@pytest.mark.parametrize(("parameters", "kept"), LEFT_OUT)
def test_parameters_that_only_tune_other_clients_are_left_out(read: Read, parameters: str, kept: str) -> None:
    assert read(DATABASE_URL=URL + parameters).database_url == URL + kept


@pytest.mark.parametrize(("parameters", "kept"), TLS)
def test_ssl_becomes_sslmode_and_the_strongest_mode_counts(read: Read, parameters: str, kept: str) -> None:
    assert read(DATABASE_URL=URL + parameters).database_url == URL + kept


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_an_unknown_parameter_is_refused_by_name(read: Read, name: str) -> None:
    [sentence] = errors_of(read, DATABASE_URL=f"{URL}?{name}=hidden")
    assert sentence == (
        f"{FORM}, without the parameter {name}, which the service can't honour: leave it out, or write a setting of "
        "PostgreSQL into options, like options=-csearch_path%3Dtodo."
    )


@pytest.mark.parametrize(("parameter", "end"), REFUSED_VALUES)
def test_a_wrong_parameter_is_refused_with_its_values(read: Read, parameter: str, end: str) -> None:
    [sentence] = errors_of(read, DATABASE_URL=f"{URL}?{parameter}")
    assert sentence.startswith(FORM)
    assert end in sentence


@pytest.mark.parametrize(("url", "end"), REFUSED_ADDRESSES)
def test_another_form_of_address_is_refused_with_the_form_to_write(read: Read, url: str, end: str) -> None:
    [sentence] = errors_of(read, DATABASE_URL=url)
    assert sentence.startswith(FORM + end)


def test_each_wrong_parameter_has_its_own_sentence(read: Read) -> None:
    sentences = errors_of(read, DATABASE_URL=f"{URL}?hostaddr=1&sslmode=on&requirepeer=x&schema=public")
    assert [name in sentence for name, sentence in zip(("hostaddr", "sslmode", "requirepeer"), sentences, strict=True)]


def test_space_around_the_address_is_left_out(read: Read) -> None:
    assert read(DATABASE_URL=f" {URL}?sslmode=require\n").database_url == f"{URL}?sslmode=require"


def test_dbname_replaces_the_name_in_the_address(read: Read) -> None:
    url = read(DATABASE_URL="postgres://db.example/?dbname=name").database_url
    assert url == "postgres://db.example?dbname=name"
    assert read_by_asyncpg(url)[1].database == "name"


def test_asyncpg_reads_each_accepted_address(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLROOTCERT")  # asyncpg would refuse a file without certificates
    without_files = [url for url in UNCHANGED if "=/c" not in url and "sslmode=verify" not in url]
    accepted = [URL + parameters for parameters, kept in (*LEFT_OUT, *TLS) if "verify" not in kept] + without_files
    for url in accepted:
        _, parameters = read_by_asyncpg(read(DATABASE_URL=url).database_url)
        assert {name.lower() for name in parameters.server_settings or {}} <= SERVER_SETTINGS, url
        assert parameters.database in {"name", "na me"}


def test_asyncpg_reads_each_parameter_that_the_service_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLROOTCERT")
    values = {name: choices[-1] for name, choices in CHOICES.items()} | {"port": "1", "sslmode": "require"}
    files = {"sslrootcert", "sslcrl", "sslcert", "sslkey"}
    query = "&".join(f"{name}={values.get(name, 'x')}" for name in sorted(ASYNCPG_PARAMETERS - files))
    assert read_by_asyncpg(f"postgres://?{query}")[1].server_settings is None
    for name in files:
        with pytest.raises(FileNotFoundError):
            read_by_asyncpg(f"postgres://?sslmode=require&sslcert=/none&{name}=/none")


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_mode_that_verifies_the_server_needs_a_file_of_certificates(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    url = f"{URL}?sslmode={mode}"
    monkeypatch.setenv("HOME", str(tmp_path))
    for file in ("", "/hidden"):
        monkeypatch.setenv("PGSSLROOTCERT", file)
        [sentence] = errors_of(read, DATABASE_URL=url)
        needs = "needs the certificates of authorities in a file, like sslrootcert=/etc/ssl/certs/ca-certificates.crt."
        assert sentence == f"{FORM}, and sslmode={mode} {needs}"
    monkeypatch.setenv("PGSSLROOTCERT", "")
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").touch()
    assert read(DATABASE_URL=url).database_url == url
    assert read(DATABASE_URL=f"{url}&sslrootcert={FILE}").database_url == f"{url}&sslrootcert={FILE}"
