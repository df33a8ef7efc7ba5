-- maintenance/check_database
-- The major version of PostgreSQL, and whether lower() works for letters outside ASCII. The migration runner
-- checks this result.
SELECT
    current_setting('server_version_num')::integer / 10000 AS version,
    lower(U&'\00c9') = U&'\00e9' AS lowers_unicode;
