-- tasks/get_task
-- One task as JSON. body is NULL if the user has no such task.
-- $1 user_id text  the owner, from the token
-- $2 id uuid  the task
-- Expects tasks_pkey.
WITH task AS MATERIALIZED (
    SELECT
        body,
        revision
    FROM tasks
    WHERE user_id = $1
      AND id = $2
)
SELECT
    (SELECT body FROM task) AS body,
    (SELECT revision FROM task) AS revision;
