-- tasks/get_task
-- One task as JSON; body is NULL when the user has no such task.
-- $1 user_id text  the owner, from the token
-- $2 id uuid  the task
-- Expects tasks_pkey.
SELECT (SELECT body FROM tasks WHERE user_id = $1 AND id = $2) AS body;
