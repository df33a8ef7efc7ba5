#!/usr/bin/env bash
# What the stored `body` costs and saves: the same statements on our table, and on one whose body is computed when it is read.
# Usage: benchmarks/stored_body.sh postgres://user@host/an_empty_migrated_database [rounds] [seconds]
# Needs pgbench. Prints the table's MB, and the median transactions per second of interleaved rounds, for
#   stored    tasks.body, as it is
#   computed  a view that calls task_json()
#   row       a view that calls json_build_object(), as one would without a function
# each with descriptions of 40 and of 1,000 characters, 400 users with 50 tasks each.
set -euo pipefail
url=$1 rounds=${2:-5} seconds=${3:-3}
sql=$(dirname "$0")/../sql/tasks
source "$(dirname "$0")/pgbench.sh"

psql --quiet "$url" <<'SQL'
CREATE TABLE plain_tasks (LIKE tasks INCLUDING ALL);
ALTER TABLE plain_tasks DROP COLUMN body, ADD FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE plain_tasks SET (fillfactor = 85);
CREATE SCHEMA computed;
CREATE VIEW computed.tasks AS
SELECT *, task_json(
    id, user_id, title, description, completed, priority, due_date, created_at, updated_at, revision, deleted_at
) AS body
FROM plain_tasks;
CREATE SCHEMA row;
CREATE VIEW row.tasks AS
SELECT *, json_build_object(
    'id', id, 'user_id', user_id, 'title', title, 'description', description, 'completed', completed,
    'priority', priority, 'due_date', due_date AT TIME ZONE 'UTC', 'created_at', created_at AT TIME ZONE 'UTC',
    'updated_at', updated_at AT TIME ZONE 'UTC', 'revision', revision
)::text AS body
FROM plain_tasks;
SQL

id="md5(:n::text || '-' || :t::text)::uuid"
script list_tasks :page_size NULL::text[] < "$sql/list_tasks.sql"
script get_task "$id" < "$sql/get_task.sql"
script update_task "$id" NULL::text[] "'Task ' || :r::text" false NULL::text NULL::boolean false NULL::text false NULL::text \
    < "$sql/update_task.sql"

size() { # the table, the length of a description
    seed "$1" "$2"
    psql --quiet --no-align --tuples-only "$url" --command "SELECT round(pg_table_size('$1') / 1e6, 1)"
}

for length in 40 1000; do
    printf '%s characters\tMB\tstored %s\twithout %s\n' "$length" "$(size tasks $length)" "$(size plain_tasks $length)"
    description="left(repeat('Some words about what is to be done. ', 30), $length)"
    script create_task "'Task ' || :r::text" "$description" NULL::text NULL::text < "$sql/create_task.sql"
    for statement in list_tasks get_task create_task update_task; do
        for round in $(seq "$rounds"); do
            for schema in public computed row; do
                rate $statement $schema >> "$folder/$schema"
            done
        done
        printf '%s characters\t%s' "$length" "$statement"
        for schema in public computed row; do
            printf '\t%s %s' "${schema/public/stored}" "$(sort -n "$folder/$schema" | sed -n "$(((rounds + 1) / 2))p")"
            rm "$folder/$schema"
        done
        printf '\n'
    done
done
