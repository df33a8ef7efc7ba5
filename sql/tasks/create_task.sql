-- tasks/create_task
-- Stores a new task. If it is the user's first task, stores the user, too. Always returns the task.
-- $1 user_id text  the owner, from the token
-- $2 title text  1 to 200 characters
-- $3 description text  up to 1000 characters; NULL for none
-- $4 priority text  low, medium or high; NULL for none
-- $5 due_date text  RFC 3339; NULL for none
-- Expects users_pkey.
WITH owner AS (
    INSERT INTO users AS u (id, revision)
    VALUES ($1, 1)
    ON CONFLICT (id) DO UPDATE SET revision = u.revision + 1
    RETURNING id, revision
),
task AS (
    INSERT INTO tasks (
        user_id,
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
        $5::text::timestamptz,
        owner.revision
    FROM owner
    RETURNING id, body, revision
)
SELECT
    (SELECT id FROM task) AS id,
    (SELECT body FROM task) AS body,
    (SELECT revision FROM task) AS revision;
