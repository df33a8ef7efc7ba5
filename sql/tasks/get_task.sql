-- tasks/get_task
-- One task, as an array of its JSON and its revision. task is NULL if the user has no task with this id.
-- $1 user_id text  the owner, from the token
-- $2 id uuid  the task
-- Expects tasks_pkey. Two columns would need a CTE, which takes a microsecond more than the array.
SELECT (
    SELECT ARRAY[body, revision::text]
    FROM tasks
    WHERE user_id = $1
      AND id = $2
      AND deleted_at IS NULL
) AS task;
