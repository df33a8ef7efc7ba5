-- maintenance/try_migration_lock
-- Takes the lock that allows one migration run at a time, until the session ends. locked is false if another session
-- has it. The service polls: a session that waited for the lock would deadlock with CREATE INDEX CONCURRENTLY.
-- $1 key bigint  the number of the lock
SELECT pg_try_advisory_lock($1) AS locked;
