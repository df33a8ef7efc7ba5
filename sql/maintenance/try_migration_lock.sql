-- maintenance/try_migration_lock
-- Takes the advisory lock of migrations until the session ends, so that only one run migrates at a time. locked is
-- false if another session has the lock. The service polls the lock: a session that waited for it would deadlock with
-- CREATE INDEX CONCURRENTLY.
-- $1 key bigint  the number of the lock
SELECT pg_try_advisory_lock($1) AS locked;
