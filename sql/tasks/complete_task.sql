-- tasks/complete_task
-- Marks a task as completed or pending, or toggles its state. Returns the task. If the task already has the
-- new state, nothing changes.
-- body and revision are NULL if the user has no task with this id. Only body is NULL if the task's revision is not in
-- if_match.
-- $1 user_id text  the owner, from the token
-- $2 id uuid  the task
-- $3 if_match text[]  the revisions that the task may have; NULL for any
-- $4 completed boolean  the new state; NULL toggles it
-- Expects users_pkey and tasks_pkey. Locks the user, then the task, then compares the revision of the locked task.
WITH owner AS MATERIALIZED (
    SELECT id
    FROM users
    WHERE id = $1
    FOR NO KEY UPDATE
),
current AS MATERIALIZED (
    SELECT
        t.completed,
        t.revision,
        t.body
    FROM owner
    INNER JOIN tasks AS t ON t.user_id = owner.id
    WHERE t.user_id = $1
      AND t.id = $2
      AND t.deleted_at IS NULL
    FOR UPDATE OF t
),
bump AS (
    UPDATE users AS u
    SET revision = u.revision + 1
    FROM current
    WHERE u.id = $1
      AND ($3::text[] IS NULL OR current.revision::text = any($3))
      AND ($4::boolean IS NULL OR current.completed <> $4)
    RETURNING u.revision
),
task AS (
    UPDATE tasks AS t
    SET
        completed = NOT t.completed, -- bump has no row if the task already has the state $4
        updated_at = statement_timestamp(),
        revision = bump.revision
    FROM bump
    WHERE t.user_id = $1
      AND t.id = $2
    RETURNING t.body, t.revision
)
SELECT
    coalesce(
        (SELECT body FROM task),
        (SELECT body FROM current WHERE $3 IS NULL OR revision::text = any($3))
    ) AS body,
    coalesce((SELECT revision FROM task), (SELECT revision FROM current)) AS revision;
