-- maintenance/set_lock_timeout
-- Limits how long this session waits for a lock, so that requests don't queue up behind a migration.
-- $1 lock_timeout text  a time with its unit, for example 5s
SELECT set_config('lock_timeout', $1, false) AS lock_timeout;
