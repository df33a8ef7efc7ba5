-- maintenance/list_applied_migrations
-- The migrations that this database has, with their checksums.
SELECT
    name,
    checksum
FROM schema_migrations;
