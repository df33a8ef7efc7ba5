-- maintenance/list_applied_migrations
-- The migrations that were applied to this database, with their checksums.
SELECT
    name,
    checksum
FROM schema_migrations;
