-- migrations/0002_index_tasks_by_revision
-- Makes it cheap to tell what changed since a revision: the changes of a user stand in their order, deletions included.
-- no transaction

-- Serves list_changes.
CREATE INDEX CONCURRENTLY tasks_revision_idx ON tasks (user_id, revision);
