-- health/check_readiness
-- Checks that the database answers. migrated is false if the database has no table tasks.
SELECT to_regclass('tasks') IS NOT NULL AS migrated;
