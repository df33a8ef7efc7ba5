-- maintenance/set_lock_timeout
-- Makes this session give up on a lock after a while, so that a migration doesn't queue up all requests behind it.
-- $1 lock_timeout text  like 5s
SELECT set_config('lock_timeout', $1, false) AS lock_timeout;
