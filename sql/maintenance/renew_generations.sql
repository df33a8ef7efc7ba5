-- maintenance/renew_generations
-- Run this once after you restored a backup, while the service is stopped. Clients that have seen later changes are
-- told to start over (410), and no ETag from before names another state.
-- The new revision is higher than all that were used since the backup: these begin at the time of the user's creation
-- in microseconds at most (create_task_idempotent), and each write takes one. The new generation is derived from the
-- old one, because a distributed PostgreSQL accepts no volatile functions here.
UPDATE users
SET
    generation = md5(generation::text || statement_timestamp()::text)::uuid,
    revision = greatest(revision + 1, (extract(EPOCH FROM statement_timestamp()) * 1000000)::bigint);
