-- migrations/0004_comment_on_indexes
-- Updates the comments on two indexes: export_tasks is new, and create_task_idempotent has a new name.

-- Serves get_task, update_task, complete_task, delete_task and create_task_idempotent.
COMMENT ON INDEX tasks_pkey IS 'Finds one task; decides between a new task and a repeated request.';

-- Serves list_tasks, list_tasks_by_created_asc, list_tasks_by_created_desc and export_tasks.
COMMENT ON INDEX tasks_created_at_idx IS 'Lists and exports tasks in the order of their creation.';
