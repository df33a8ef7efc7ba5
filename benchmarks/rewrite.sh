#!/usr/bin/env bash
# How long the table can't be used while the JSON of all tasks is made anew, as a migration of its shape does.
# Usage: benchmarks/rewrite.sh postgres://user@host/an_empty_migrated_database [rows]
# Prints seconds and megabytes. A task has a description of 40 characters.
set -euo pipefail
url=$1 rows=${2:-1000000}

psql --quiet "$url" <<SQL
INSERT INTO users (id, revision) SELECT 'user' || i, 50 FROM generate_series(1, $rows / 50) AS i;
INSERT INTO tasks (user_id, title, description, revision)
SELECT 'user' || (t / 50 + 1), 'Task ' || t, 'Some words about what there is to be done', t % 50
FROM generate_series(0, $rows - 1) AS t;
VACUUM ANALYZE users, tasks;
CHECKPOINT;
SQL

expression=$(psql --quiet --no-align --tuples-only "$url" --command "
    SELECT pg_get_expr(adbin, adrelid)
    FROM pg_attrdef
    JOIN pg_attribute ON (attrelid, attnum) = (adrelid, adnum)
    WHERE adrelid = 'tasks'::regclass AND attname = 'body'")
began=$(date +%s.%N)
psql --quiet "$url" <<SQL
BEGIN;
ALTER TABLE tasks DROP COLUMN body;
ALTER TABLE tasks ADD COLUMN body text GENERATED ALWAYS AS ($expression) STORED;
COMMIT;
SQL
ended=$(date +%s.%N)
size=$(psql --quiet --no-align --tuples-only "$url" --command "SELECT pg_total_relation_size('tasks') / 1000000")
printf '%s rows\t%.1f s\t%s MB\n' "$rows" "$(awk "BEGIN { print $ended - $began }")" "$size"
