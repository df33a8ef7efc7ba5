-- health/check_readiness
-- Tells whether the database answers and has been migrated.
SELECT to_regclass('tasks') IS NOT NULL AS migrated;
