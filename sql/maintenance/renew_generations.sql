-- maintenance/renew_generations
-- To be run once after a backup was restored, while the service is stopped: clients that have seen what the backup has
-- not are told to start over (410), and no ETag from before means something else now.
-- The revision is put ahead of any that was given out since the backup: those count from the time in microseconds when
-- the user began, at most (create_task_once), one for each write. The generation is derived from the old one, because a
-- distributed PostgreSQL takes no volatile functions here.
UPDATE users
SET
    generation = md5(generation::text || statement_timestamp()::text)::uuid,
    revision = greatest(revision + 1, (extract(EPOCH FROM statement_timestamp()) * 1000000)::bigint);
