-- tasks/create_task_once
-- Stores a new task under an id that is made from a key of the client, or gives what was stored under it before.
-- created is false when the id was there already: then same_payload says whether by an equal request, and body is NULL
-- if the task has been deleted since.
-- $1 user_id text  the owner, from the token
-- $2 id uuid  made from the user and the key
-- $3 fingerprint bytea  a digest of all that follows
-- $4 title text  1 to 200 characters
-- $5 description text  up to 1000 characters; NULL for none
-- $6 priority text  low, medium or high; NULL for none
-- $7 due_date text  RFC 3339; NULL for none
-- Expects users_pkey and tasks_pkey. Locks the user first, so only one of those who send a key at once creates.
WITH locked AS MATERIALIZED (
    SELECT
        revision,
        -- A user who was deleted and begins anew makes the same ids by the same keys. So that no ETag of a former task
        -- is one of a new task, revisions are higher than the microsecond in which the user began.
        (extract(EPOCH FROM created_at) * 1000000)::bigint AS beginning
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
    -- Who waited here for another to begin takes a revision even if nothing is created then: revisions may have gaps.
    ON CONFLICT (id) DO UPDATE SET revision = greatest(u.revision + 1, excluded.revision)
    RETURNING id, revision
),
owner AS MATERIALIZED (
    SELECT greatest(revision + 1, beginning) AS revision FROM locked
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
    -- Changes nothing, but gives the row to those who come later; DO NOTHING would give none.
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
    (SELECT created FROM task) AS created,
    (SELECT fingerprint FROM task) = $3 AS same_payload;
