"""The service's role (sql/roles.sql).

The tests run the service only with this role, so they show that its rights are sufficient.
"""

from urllib.parse import urlsplit, urlunsplit

import asyncpg

from todo_service.database.statements import SQL

ROLES = (SQL / "roles.sql").read_text(encoding="utf-8")
ROLE = "todo_service"


async def grant_service(owner_url: str) -> str:
    """Runs sql/roles.sql on a migrated database, and returns the URL for the service."""
    connection = await asyncpg.connect(owner_url)
    await connection.execute(ROLES)
    await connection.close()
    return service_url(owner_url)


def service_url(owner_url: str) -> str:
    """The URL of the same database with the service's role."""
    parts = urlsplit(owner_url)
    return urlunsplit(parts._replace(netloc=f"{ROLE}@{parts.netloc.rpartition('@')[2]}"))
