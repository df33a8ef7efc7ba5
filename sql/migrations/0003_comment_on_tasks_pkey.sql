-- migrations/0003_comment_on_tasks_pkey
-- Brings up to date what the first migration says of the primary key.

-- Serves get_task, update_task, complete_task, delete_task and create_task_once.
COMMENT ON INDEX tasks_pkey IS 'Finds one task; decides between a new task and a repeated request.';
