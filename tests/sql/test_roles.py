"""Roles: the service's role has exactly the rights that its statements need (sql/roles.sql)."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from pglast import ast, parse_sql

from tests.support.api import JSON, TASKS, problem_of
from tests.support.database import StartService
from tests.support.postgres_servers import run_program
from tests.support.service_role import ROLE, ROLES, grant_service, service_url
from tests.support.sql_files import ENDPOINT_STATEMENTS
from todo_service.database.migrations import migrate
from todo_service.database.statements import SQL

pytestmark = pytest.mark.database

Right = tuple[str, str, str]
"""A privilege, its table, and its column (empty for a privilege of the whole table)."""

RIGHTS = """
    WITH found AS (
        SELECT c.oid, c.relname, a.attnum, a.attname
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace <> ALL ('{pg_catalog,information_schema,pg_toast}'::regnamespace[])
          AND c.relkind <> ALL ('{i,t}')
    )
    SELECT privilege, relname, attname
    FROM found, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) AS privilege
    WHERE has_column_privilege($1, oid, attnum, privilege)
    UNION
    SELECT privilege, relname, ''
    FROM found, unnest('{DELETE,TRUNCATE,TRIGGER}'::text[]) AS privilege
    WHERE has_table_privilege($1, oid, privilege)
"""

OTHER_RIGHTS = """
    SELECT has_database_privilege($1, current_database(), 'CONNECT') AS connects,
        has_database_privilege($1, current_database(), 'CREATE') AS creates_schemas,
        has_database_privilege($1, current_database(), 'TEMPORARY') AS creates_temporary_tables,
        has_schema_privilege($1, 'public', 'USAGE') AS uses,
        has_schema_privilege($1, 'public', 'CREATE') AS creates_tables,
        (SELECT count(*) FROM pg_auth_members WHERE member = $1::regrole) AS memberships,
        (SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls OR rolinherit
        FROM pg_roles WHERE rolname = $1) AS attributes
"""

FORBIDDEN = [
    "DROP TABLE tasks",
    "DROP DATABASE postgres",
    "DROP FUNCTION task_json",
    "DROP SCHEMA public",
    "TRUNCATE tasks",
    "TRUNCATE users CASCADE",
    "ALTER TABLE tasks ADD COLUMN x text",
    "ALTER TABLE tasks DISABLE TRIGGER ALL",
    "ALTER TABLE tasks OWNER TO todo_service",
    "CREATE TABLE x (y text)",
    "CREATE TEMPORARY TABLE x (y text)",
    "CREATE TABLE x AS SELECT * FROM tasks",
    "CREATE VIEW x AS SELECT 1",
    "CREATE INDEX ON tasks (title)",
    "CREATE FUNCTION x() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER x AFTER DELETE ON tasks EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE x AS ON INSERT TO tasks DO NOTHING",
    "CREATE SCHEMA x",
    "CREATE DATABASE x",
    "CREATE ROLE x",
    "ALTER ROLE todo_service SUPERUSER",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = 'replica'",
    "SELECT * FROM schema_migrations",
    "INSERT INTO schema_migrations (name, checksum) VALUES ('x', 'y')",
    "DELETE FROM schema_migrations",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('PG_VERSION')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT pg_reload_conf()",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "COPY tasks TO '/tmp/tasks'",
    "COPY tasks TO PROGRAM 'cat'",
    "COPY users (id, revision) FROM '/etc/passwd'",
    "COPY users (id, revision) FROM PROGRAM 'id'",
    "UPDATE users SET id = 'x'",
    "UPDATE users SET generation = gen_random_uuid()",
    "UPDATE users SET created_at = now()",
    "INSERT INTO users (id, revision, generation) VALUES ('x', 1, gen_random_uuid())",
    "DELETE FROM tasks",
    "UPDATE tasks SET user_id = 'x'",
    "UPDATE tasks SET created_at = now()",
    "INSERT INTO tasks (user_id, title, revision, deleted_at) VALUES ('x', 'y', 1, now())",
]


def written_by(statement: Any) -> Iterator[Right]:
    """The rights that an INSERT, UPDATE or DELETE needs. Other nodes need no rights."""
    match type(statement).__name__:
        case "InsertStmt":
            yield from (("INSERT", statement.relation.relname, target.name) for target in statement.cols)
            conflict = statement.onConflictClause
            for target in conflict.targetList or () if conflict else ():
                yield "UPDATE", statement.relation.relname, target.name
        case "UpdateStmt":
            yield from (("UPDATE", statement.relation.relname, target.name) for target in statement.targetList)
        case "DeleteStmt":
            yield "DELETE", statement.relation.relname, ""


def writes(node: object) -> Iterator[Right]:
    """The write rights that a statement and its CTEs need."""
    if isinstance(node, tuple):
        for part in node:
            yield from writes(part)
    elif isinstance(node, ast.Node):
        yield from written_by(node)
        for slot in node:
            yield from writes(getattr(node, slot))


async def rights(connection: asyncpg.Connection) -> set[Right]:
    return {tuple(row) for row in await connection.fetch(RIGHTS, ROLE)}


async def needed(connection: asyncpg.Connection) -> set[Right]:
    """The rights that the files of sql/ need: to read both tables, and to run the writes of their statements."""
    found = await connection.fetch(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute"
        " WHERE attrelid IN ('users'::regclass, 'tasks'::regclass) AND attnum > 0 AND NOT attisdropped"
    )
    reads = {("SELECT", row[0], row[1]) for row in found}
    return reads | {right for file in ENDPOINT_STATEMENTS for raw in parse_sql(file.text) for right in writes(raw.stmt)}


@pytest.fixture
async def service(service_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the service's role."""
    connection = await asyncpg.connect(service_database_url)
    yield connection
    await connection.close()


async def test_the_role_has_exactly_the_rights_that_the_statements_need(connection: asyncpg.Connection) -> None:
    assert await rights(connection) == await needed(connection)
    assert dict(await connection.fetchrow(OTHER_RIGHTS, ROLE) or {}) == {
        "connects": True,
        "uses": True,
        **dict.fromkeys(("creates_schemas", "creates_tables", "creates_temporary_tables", "attributes"), False),
        "memberships": 0,
    }


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_role_may_not_run_other_statements(service: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(statement)


async def test_the_service_connects_as_the_role(client: Any, connection: asyncpg.Connection) -> None:
    assert (await client.get("/health/ready")).status == 200
    roles = await connection.fetch(
        "SELECT DISTINCT usename FROM pg_stat_activity"
        " WHERE application_name = 'todo-service' AND datname = current_database()"
    )
    assert [row["usename"] for row in roles] == [ROLE]


async def test_running_roles_sql_again_revokes_additional_rights(empty_database: str) -> None:
    await migrate(empty_database, lambda _line: None)
    for _ in range(2):
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={empty_database}"]
        run_program("psql", *options, f"--file={SQL / 'roles.sql'}")
        connection = await asyncpg.connect(empty_database)
        assert await rights(connection) == await needed(connection)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS other (x text); CREATE SEQUENCE IF NOT EXISTS numbers;"
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}; GRANT ALL ON SEQUENCE numbers TO {ROLE};"
            f"GRANT UPDATE (user_id) ON tasks TO {ROLE}; GRANT CREATE ON SCHEMA public TO {ROLE}"
        )
        assert await rights(connection) > await needed(connection)
        await connection.execute(ROLES)
        assert await rights(connection) == await needed(connection)
        assert not await connection.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", ROLE)
        await connection.close()


async def test_a_database_owner_without_superuser_rights_can_run_roles_sql(empty_database: str) -> None:
    name = f"owner_{uuid4().hex}"
    administrator = await asyncpg.connect(empty_database)
    await administrator.execute(f"CREATE ROLE {name} LOGIN")
    await administrator.execute(f'ALTER DATABASE "{urlsplit(empty_database).path[1:]}" OWNER TO {name}')
    owner_url = service_url(empty_database).replace(ROLE, name)

    await migrate(owner_url, lambda _line: None)
    await grant_service(owner_url)

    assert await rights(administrator) == await needed(administrator)
    assert not await administrator.fetchval("SELECT has_database_privilege($1, current_database(), 'TEMP')", ROLE)
    await administrator.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")
    await administrator.close()


async def test_an_owner_of_only_the_tables_gets_the_command_for_the_database_owner(empty_database: str) -> None:
    name, database = f"owner_{uuid4().hex}", urlsplit(empty_database).path[1:]
    administrator = await asyncpg.connect(empty_database)
    await administrator.execute(
        f'CREATE ROLE {name} LOGIN; GRANT CREATE ON DATABASE "{database}" TO {name};'
        f"GRANT CREATE ON SCHEMA public TO {name}"
    )
    owner_url = service_url(empty_database).replace(ROLE, name)
    await migrate(owner_url, lambda _line: None)
    with pytest.raises(asyncpg.RaiseError, match="can still create tables") as error:
        await grant_service(owner_url)
    assert not [right for right in await rights(administrator) if right[1] in ("users", "tasks")]

    await administrator.execute(str(error.value).partition("first run: ")[2])
    await grant_service(owner_url)

    assert await rights(administrator) == await needed(administrator)
    await administrator.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")
    await administrator.close()


@pytest.mark.parametrize(
    "change",
    [
        *(f"ALTER ROLE {ROLE} {attribute}" for attribute in ("SUPERUSER", "CREATEDB", "CREATEROLE", "BYPASSRLS")),
        f"GRANT pg_read_all_data TO {ROLE}",
        f"CREATE TABLE owned (x text); ALTER TABLE owned OWNER TO {ROLE}",
    ],
)
async def test_roles_sql_fails_if_the_role_has_other_rights(connection: asyncpg.Connection, change: str) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(change)
    with pytest.raises(asyncpg.RaiseError, match="may do more than this file grants"):
        await connection.execute(ROLES.replace("\nBEGIN;\n", "").replace("\nCOMMIT;\n", ""))
    await transaction.rollback()


async def test_requests_get_503_until_the_rights_are_granted(start_service: StartService, empty_database: str) -> None:
    await migrate(empty_database, lambda _line: None)
    owner = await start_service(database_url=service_url(empty_database))
    for call in (owner.call("GET", TASKS), owner.call("POST", TASKS, json={"title": "x"}, headers=JSON)):
        await problem_of(await call, 503, "unavailable")
    await grant_service(empty_database)
    assert await owner.tasks() == []
    await owner.create()
