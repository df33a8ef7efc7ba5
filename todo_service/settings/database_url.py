"""The parser of DATABASE_URL."""

import re
from urllib.parse import parse_qs, urlsplit

from todo_service.settings.values import require

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

# Parameters that hosting platforms add to a DATABASE_URL. asyncpg would send them to the server, which refuses them. It
# is safe to leave them out: they configure how libpq connects, or are meant for other libraries.
LIBPQ_ONLY_PARAMETERS = re.compile(
    r"channel_binding|client_encoding|connect_timeout|fallback_application_name|gssdelegation|gssencmode|keepalives\w*|"
    r"load_balance_hosts|sslcompression|sslsni|tcp_user_timeout|"
    r"pgbouncer|connection_limit|pool_timeout|statement_cache_size|supa"
)


def parse_database_url(value: str) -> str:
    parts = urlsplit(value)
    require(parts.scheme in ("postgres", "postgresql") and len(parts.path) > 1)
    user, _, hosts = parts.netloc.rpartition("@")
    require("@" not in user)  # asyncpg would read the end of the password as the host
    for host in hosts.split(","):
        _ = urlsplit(f"//{host}").port  # raises ValueError if it is not a number
    query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    require(all(mode in SSL_MODES for mode in query.get("sslmode", ())))
    address, mark, parameters = value.partition("?")
    kept = [each for each in parameters.split("&") if not LIBPQ_ONLY_PARAMETERS.fullmatch(each.partition("=")[0])]
    return address + mark * bool(kept) + "&".join(kept)
