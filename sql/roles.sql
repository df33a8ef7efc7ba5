-- roles
-- The role that the service connects as, with exactly the rights that its statements need: it reads and writes tasks,
-- and can neither change the schema nor see anything else.
-- To be run with psql by the owner of the database and its tables (who runs the migrations), or a superuser, once the
-- database has been migrated; and again after each migration, before the release that it is for is started. It can be
-- repeated at any time, and takes back what else was granted on tables and sequences in public. An owner who may not
-- create roles has an administrator make todo_service first. The role gets its password apart from this file:
-- \password todo_service

BEGIN;

DO $$
BEGIN
    -- A role belongs to all databases of a server: another one may have it already, or be about to.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'todo_service') THEN
        CREATE ROLE todo_service LOGIN NOINHERIT;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

DO $$
BEGIN
    IF (SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
        FROM pg_roles WHERE rolname = 'todo_service')
        OR EXISTS (SELECT FROM pg_auth_members WHERE member = 'todo_service'::regrole)
        OR EXISTS (SELECT FROM pg_class WHERE relowner = 'todo_service'::regrole)
    THEN
        RAISE 'todo_service may do more than this file grants: take its attributes, memberships and tables away first';
    END IF;
END
$$;

-- Settings of the role, for poolers that pass none on from the service, belong here: ALTER ROLE todo_service SET ...

-- Without these nobody but the owner makes tables here, not even temporary ones; a database that was upgraded from
-- PostgreSQL 14 lets everybody make tables in public.
DO $$
BEGIN
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC, todo_service', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO todo_service', current_database());
END
$$;

REVOKE CREATE ON SCHEMA public FROM public, todo_service;
GRANT USAGE ON SCHEMA public TO todo_service;

-- Who is not their owner has revoked nothing so far, with a warning.
DO $$
BEGIN
    IF has_database_privilege('todo_service', current_database(), 'CREATE, TEMPORARY')
        OR has_schema_privilege('todo_service', 'public', 'CREATE')
    THEN
        RAISE 'todo_service could still make tables: the owner of the database must run this file, or this first: %',
            format(
                'REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC',
                current_database()
            );
    END IF;
END
$$;

-- Everybody may make large objects, which a backup by the owner stumbles over. Only a superuser can change that.
DO $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        REVOKE EXECUTE ON FUNCTION lo_creat, lo_create, lo_from_bytea FROM public;
    END IF;
END
$$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM todo_service;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM todo_service;

-- A generation never changes, nor does an id.
GRANT SELECT, DELETE ON users TO todo_service;
GRANT INSERT (id, revision), UPDATE (revision) ON users TO todo_service;

-- Tasks don't change hands. They are deleted by the foreign key, with the rights of its owner, and otherwise blanked.
-- UPDATE of the id is needed by create_task_idempotent, which returns the row of an earlier request that way.
GRANT SELECT ON tasks TO todo_service;
GRANT
INSERT (
    user_id,
    id,
    title,
    description,
    priority,
    due_date,
    revision,
    fingerprint
),
UPDATE (
    id,
    title,
    description,
    completed,
    priority,
    due_date,
    updated_at,
    revision,
    fingerprint,
    deleted_at
)
ON tasks TO todo_service;

-- Writing a task makes its JSON.
GRANT EXECUTE ON FUNCTION task_json TO todo_service;

COMMIT;
