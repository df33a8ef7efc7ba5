-- tasks/delete_task
-- Deletes a task: clears its content, and keeps its id and its revision as a tombstone.
-- deleted is false and revision is NULL if the user has no task with this id. deleted is also false if the
-- task's revision is not in if_match.
-- $1 user_id text  the owner, from the token
-- $2 id uuid  the task
-- $3 if_match text[]  the revisions that the task may have; NULL for any
-- Expects users_pkey and tasks_pkey. Locks the user, then the task, then compares the revision of the locked task.
WITH owner AS MATERIALIZED (
    SELECT id
    FROM users
    WHERE id = $1
    FOR NO KEY UPDATE
),
current AS MATERIALIZED (
    SELECT t.revision
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
    RETURNING u.revision
),
task AS (
    UPDATE tasks AS t
    SET
        title = '',
        description = NULL,
        completed = false,
        priority = NULL,
        due_date = NULL,
        fingerprint = NULL,
        deleted_at = statement_timestamp(),
        updated_at = statement_timestamp(),
        revision = bump.revision
    FROM bump
    WHERE t.user_id = $1
      AND t.id = $2
    RETURNING t.id
)
SELECT
    (SELECT id FROM task) IS NOT NULL AS deleted,
    (SELECT revision FROM current) AS revision;
