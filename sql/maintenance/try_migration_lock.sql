-- maintenance/try_migration_lock
-- Takes the lock that lets one migrate at a time, until the session ends; false when another session has it.
-- Tried again and again rather than waited for: a waiting session would deadlock with CREATE INDEX CONCURRENTLY.
-- $1 key bigint  the number of the lock
SELECT pg_try_advisory_lock($1) AS locked;
