-- maintenance/check_database
-- What the service asks of a database: a recent version, UTF-8, and a lower() that knows more than ASCII.
SELECT
    current_setting('server_version_num')::integer / 10000 AS version,
    current_setting('server_encoding') AS encoding,
    lower(U&'\00c9') = U&'\00e9' AS lowers_unicode;
