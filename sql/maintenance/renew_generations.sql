-- maintenance/renew_generations
-- Run this once after you restored a backup, while the service is stopped. Afterwards, clients that synchronised
-- earlier get 410, and then get all tasks again. No earlier ETag matches a new state.
-- The new revision is higher than all revisions that were used after the backup. A user's first revision is at most the
-- time of the user's creation in microseconds (create_task_idempotent), and each write adds 1.
-- The new generation is derived from the old one, because a distributed PostgreSQL accepts no volatile functions here.
UPDATE users
SET
    generation = md5(generation::text || statement_timestamp()::text)::uuid,
    revision = greatest(revision + 1, (extract(EPOCH FROM statement_timestamp()) * 1000000)::bigint);
