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
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

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

seed() { # the table, the length of a description
    psql --quiet "$url" <<SQL
INSERT INTO users (id, revision) SELECT 'user' || i, 50 FROM generate_series(1, 400) AS i ON CONFLICT DO NOTHING;
TRUNCATE $1;
INSERT INTO $1 (id, user_id, title, description, revision, created_at)
SELECT md5(u || '-' || t)::uuid, 'user' || u, 'Task ' || t, left(repeat('Some words about what is to be done. ', 30), $2),
    t, now() - t * interval '1 minute'
FROM generate_series(1, 400) AS u, generate_series(1, 50) AS t;
VACUUM (FULL, ANALYZE) $1;
SQL
    psql --quiet --no-align --tuples-only "$url" --command "SELECT round(pg_table_size('$1') / 1e6, 1)"
}

# A statement's parameters become pgbench's: the user and the task are drawn (and pgbench would take :MI for its own).
script() { # the statement, \$2 to \$11
    local name=$1 number=1 edit="s/:MI:/.MI./;s/\\\$1\\b/('user' || :n::text)/g" value
    shift
    for value; do
        number=$((number + 1))
        edit="$edit;s/\\\$$number\\b/($value)/g"
    done
    { printf '\\set n random(1, 400)\n\\set t random(1, 50)\n\\set r random(1, 1000000)\n'
        sed -e '/^--/d' -e "$edit" "$sql/$name.sql"; } > "$folder/$name.sql"
}
id="md5(:n::text || '-' || :t::text)::uuid"
script list_tasks 1000
script get_task "$id"
script create_task "'Task ' || :r::text" :description NULL::text NULL::text
script update_task "$id" NULL::bigint "'Task ' || :r::text" false NULL::text NULL::boolean false NULL::text false NULL::text

rate() { # the schema, the script, the length of a description
    sed "s/:description/left(repeat('Some words about what is to be done. ', 30), $3)/" "$folder/$2.sql" > "$folder/run.sql"
    PGOPTIONS="-c search_path=$1,public -c plan_cache_mode=force_generic_plan" pgbench --no-vacuum --protocol=prepared \
        --client=4 --time="$seconds" --file="$folder/run.sql" "$url" 2>/dev/null | sed -n 's/^tps = \([0-9]*\).*/\1/p'
}

for length in 40 1000; do
    printf '%s characters\tMB\tstored %s\twithout %s\n' "$length" "$(seed tasks $length)" "$(seed plain_tasks $length)"
    for statement in list_tasks get_task create_task update_task; do
        for round in $(seq "$rounds"); do
            for schema in public computed row; do
                rate $schema $statement $length >> "$folder/$schema"
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
