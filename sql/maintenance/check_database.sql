-- maintenance/check_database
-- Checks what the service needs: a recent version of PostgreSQL, and a lower() that knows more than ASCII.
SELECT
    current_setting('server_version_num')::integer / 10000 AS version,
    lower(U&'\00c9') = U&'\00e9' AS lowers_unicode;
