"""The role that the service connects as (sql/roles.sql): the tests run it with no other, so that it is enough."""

from urllib.parse import urlsplit, urlunsplit

import asyncpg

from todo_service.database.statements import SQL

ROLES = (SQL / "roles.sql").read_text(encoding="utf-8")
ROLE = "todo_service"


async def grant_service(owner_url: str) -> str:
    """Runs sql/roles.sql on a migrated database, and gives its address for the service."""
    connection = await asyncpg.connect(owner_url)
    await connection.execute(ROLES)
    await connection.close()
    return service_url(owner_url)


def service_url(owner_url: str) -> str:
    """The address of the same database with the service's role."""
    parts = urlsplit(owner_url)
    return urlunsplit(parts._replace(netloc=f"{ROLE}@{parts.netloc.rpartition('@')[2]}"))
