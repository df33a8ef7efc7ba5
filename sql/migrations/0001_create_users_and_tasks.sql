-- migrations/0001_create_users_and_tasks
-- Everything that the service keeps: its users, their tasks, and the JSON text of each task.

-- The JSON text of a task, as every endpoint sends it; NULL for a deleted one. This is the only place that knows it.
-- Immutable, because a generated column asks for it: times are written in UTC, whatever the session's settings are.
-- Calls nothing outside pg_catalog: a dump is restored with an empty search_path, and would not find it.
CREATE FUNCTION task_json(
    id uuid,
    user_id text,
    title text,
    description text,
    completed boolean,
    priority text,
    due_date timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    revision bigint,
    deleted_at timestamptz
) RETURNS text
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
AS $$
BEGIN
    IF deleted_at IS NOT NULL THEN
        RETURN NULL;
    END IF;
    RETURN '{"id":"' || id
        || '","user_id":' || to_json(user_id)
        || ',"title":' || to_json(title)
        || ',"description":' || coalesce(to_json(description)::text, 'null')
        || ',"completed":' || completed
        || ',"priority":' || coalesce(to_json(priority)::text, 'null')
        || ',"due_date":'
        || coalesce('"' || to_char(due_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"', 'null')
        || ',"created_at":"' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","revision":' || revision
        || '}';
END
$$;

-- A row appears with a user's first write. Room for updates in place: every write of the user takes a revision here.
CREATE TABLE users (
    id text NOT NULL,
    -- Tells this life of the user's data from another, after a deletion or a restored backup.
    generation uuid NOT NULL DEFAULT gen_random_uuid(),
    -- Counts the user's writes, in the order in which they were committed.
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),

    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_id_length_check CHECK (char_length(id) BETWEEN 1 AND 255)
) WITH (fillfactor = 50);

-- A deleted task stays as a tombstone: its id can't be taken again, and its revision tells others that it is gone;
-- what the user wrote is blanked.
CREATE TABLE tasks (
    user_id text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    title text NOT NULL,
    description text,
    completed boolean NOT NULL DEFAULT false,
    priority text,
    due_date timestamptz,
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    -- The user's revision with which this row was written last.
    revision bigint NOT NULL,
    -- A digest of the payload that made the task, to tell a repeated request from another one with the same key.
    fingerprint bytea,
    deleted_at timestamptz,
    body text GENERATED ALWAYS AS (
        task_json(
            id, user_id, title, description, completed, priority, due_date, created_at, updated_at, revision, deleted_at
        )
    ) STORED,

    -- Serves get_task, update_task, complete_task and delete_task.
    CONSTRAINT tasks_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT tasks_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT tasks_title_length_check CHECK (
        char_length(title) <= 200 AND (char_length(title) > 0 OR deleted_at IS NOT NULL)
    ),
    CONSTRAINT tasks_description_length_check CHECK (char_length(description) <= 1000),
    CONSTRAINT tasks_priority_check CHECK (priority IN ('low', 'medium', 'high')),
    CONSTRAINT tasks_due_date_finite_check CHECK (isfinite(due_date))
) WITH (fillfactor = 85);

-- Serves list_tasks, list_tasks_by_created_asc and list_tasks_by_created_desc.
CREATE INDEX tasks_created_at_idx ON tasks (user_id, created_at, id)
WHERE deleted_at IS NULL;

-- Serves list_tasks_by_title_asc and list_tasks_by_title_desc. COLLATE "C" gives the same order on every server.
CREATE INDEX tasks_title_idx ON tasks (user_id, (lower(title) COLLATE "C"), id)
WHERE deleted_at IS NULL;

-- Serves list_tasks_by_due_date_asc: tasks without a due date come last.
CREATE INDEX tasks_due_date_asc_idx ON tasks (user_id, coalesce(due_date, 'infinity'), id)
WHERE deleted_at IS NULL;

-- Serves list_tasks_by_due_date_desc: tasks without a due date come last here, too.
CREATE INDEX tasks_due_date_desc_idx ON tasks (user_id, coalesce(due_date, '-infinity'), id)
WHERE deleted_at IS NULL;
