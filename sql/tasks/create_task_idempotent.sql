-- tasks/create_task_idempotent
-- Stores a new task under an id that is derived from the client's key, or returns the task that already has this id.
-- created is false if the task existed already. same_payload is true if an equal request created the task. body is NULL
-- if the task has been deleted.
-- $1 user_id text  the owner, from the token
-- $2 id uuid  derived from the user and the key
-- $3 fingerprint bytea  a digest of the following parameters
-- $4 title text  1 to 200 characters
-- $5 description text  up to 1000 characters; NULL for none
-- $6 priority text  low, medium or high; NULL for none
-- $7 due_date text  RFC 3339; NULL for none
-- Expects users_pkey and tasks_pkey. Locks the user first, so that only one of concurrent requests creates the task.
WITH locked AS MATERIALIZED (
    SELECT
        revision,
        -- If a user deletes all data, the same keys give the same ids again. So a user's first revision is the time of
        -- the user's creation in microseconds. Then no new task has the ETag of a deleted one.
        (extract(EPOCH FROM created_at) * 1000000)::bigint AS first_revision
    FROM users
    WHERE id = $1
    FOR NO KEY UPDATE
),
newcomer AS (
    INSERT INTO users AS u (id, revision)
    SELECT
        $1,
        (extract(EPOCH FROM statement_timestamp()) * 1000000)::bigint
    WHERE NOT EXISTS (SELECT FROM locked)
    -- A request that waits here for another one takes a revision, even if it creates no task. So revisions may have
    -- gaps.
    ON CONFLICT (id) DO UPDATE SET revision = greatest(u.revision + 1, excluded.revision)
    RETURNING id, revision
),
owner AS MATERIALIZED (
    SELECT greatest(revision + 1, first_revision) AS revision FROM locked
    UNION ALL
    SELECT revision FROM newcomer
),
task AS (
    INSERT INTO tasks AS t (
        user_id,
        id,
        fingerprint,
        title,
        description,
        priority,
        due_date,
        revision
    )
    SELECT
        $1,
        $2,
        $3,
        $4,
        $5,
        $6,
        $7::text::timestamptz,
        owner.revision
    FROM owner
    -- This update changes nothing, but returns the row to later requests. DO NOTHING would return no row.
    ON CONFLICT (user_id, id) DO UPDATE SET id = excluded.id
    RETURNING
        t.body,
        t.revision,
        t.fingerprint,
        t.revision = (SELECT owner.revision FROM owner) AS created
),
bump AS (
    UPDATE users AS u
    SET revision = task.revision
    FROM task
    WHERE u.id = $1
      AND task.created
      AND EXISTS (SELECT FROM locked)
)
SELECT
    (SELECT body FROM task) AS body,
    (SELECT revision FROM task) AS revision,
    (SELECT created FROM task) AS created,
    (SELECT fingerprint FROM task) = $3 AS same_payload;
