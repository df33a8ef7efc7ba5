-- roles
-- Creates the role that the service connects as, with exactly the rights that the service's statements need. The role
-- can read and write tasks. It can neither change the schema nor read other tables.
-- Run this file with psql as the owner of the database and its tables (the role that runs the migrations), or as a
-- superuser. Run it after each migration, before you start the new release. You can repeat it at any time. Before it
-- grants the rights, it revokes all rights of the role on tables and sequences in public. If the owner may not create
-- roles, an administrator must create todo_service first. This file sets no password. To set the role's password, run:
-- \password todo_service

BEGIN;

DO $$
BEGIN
    -- All databases of a server share its roles: the role may exist already, or another session may be creating it now.
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
        RAISE 'todo_service may do more than this file grants: remove its attributes, memberships and tables first';
    END IF;
END
$$;

-- If a pooler doesn't pass on the service's session settings, set them for the role: ALTER ROLE todo_service SET ...

-- After these statements, only the owner may create tables in this database, including temporary ones. In PostgreSQL
-- 14, and in databases that were upgraded from it, every role may create tables in public.
DO $$
BEGIN
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC, todo_service', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO todo_service', current_database());
END
$$;

REVOKE CREATE ON SCHEMA public FROM public, todo_service;
GRANT USAGE ON SCHEMA public TO todo_service;

-- If the current role is not the owner, each REVOKE above has only given a warning.
DO $$
BEGIN
    IF has_database_privilege('todo_service', current_database(), 'CREATE, TEMPORARY')
        OR has_schema_privilege('todo_service', 'public', 'CREATE')
    THEN
        RAISE 'todo_service can still create tables: the database''s owner must run this file, or first run: %',
            format(
                'REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC',
                current_database()
            );
    END IF;
END
$$;

-- By default every role may create large objects. The owner's backup fails if the owner can't read one of them. Only a
-- superuser can revoke this right.
DO $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        REVOKE EXECUTE ON FUNCTION lo_creat, lo_create, lo_from_bytea FROM public;
    END IF;
END
$$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM todo_service;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM todo_service;

-- The service never changes the id or the generation of a user.
GRANT SELECT, DELETE ON users TO todo_service;
GRANT INSERT (id, revision), UPDATE (revision) ON users TO todo_service;

-- The service never changes the owner of a task. It clears the content of a deleted task, but keeps the row. If a user
-- is deleted, the foreign key deletes the user's tasks, with the rights of the table's owner. create_task_idempotent
-- needs UPDATE of the id, to return the row of an earlier request.
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

-- Each write of a task calls this function for the generated column body.
GRANT EXECUTE ON FUNCTION task_json TO todo_service;

COMMIT;
