#!/usr/bin/env bash
# Ways to read the first page of a list and where the next one begins, on the same 400 users with 50 tasks each.
# Usage: benchmarks/pages.sh postgres://user@host/an_empty_migrated_database [rounds] [seconds]
# Needs pgbench. Prints the transactions per second of each way in each round; compare within a round.
set -euo pipefail
url=$1 rounds=${2:-5} seconds=${3:-4}
sql=$(dirname "$0")/../sql/tasks
scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT

psql --quiet "$url" <<'SQL'
INSERT INTO users (id, revision) SELECT 'user' || i, 50 FROM generate_series(1, 400) AS i ON CONFLICT DO NOTHING;
INSERT INTO tasks (user_id, title, description, revision, created_at)
SELECT 'user' || u, 'Task ' || t, 'Some words about what is to be done', t, now() - t * interval '1 minute'
FROM generate_series(1, 400) AS u, generate_series(1, 50) AS t
WHERE NOT EXISTS (SELECT FROM tasks);
VACUUM ANALYZE users, tasks;
SQL

# A statement's parameters become pgbench's: the user is drawn, the limit is 1000, the rest is NULL (and pgbench would take :MI for its own).
prepare() {
    { echo '\set n random(1, 400)'; sed -e '/^--/d' -e 's/:MI:/.MI./' -e 's/\$1/('"'user' || :n::text"')/g' -e 's/\$2::boolean/NULL::boolean/' \
        -e 's/completed = \$2/completed = NULL::boolean/' -e "s/\\\$$1\b/1000/g" -e 's/\$[45]/NULL/g'; } > "$scripts/$2.sql"
}
prepare 2 list_tasks < "$sql/list_tasks.sql"
prepare 3 list_tasks_by_created_desc < "$sql/list_tasks_by_created_desc.sql"
prepare 2 one_scan_and_row_number <<'SQL'
WITH found AS MATERIALIZED (
    SELECT
        body,
        created_at,
        id,
        row_number() OVER (ORDER BY created_at DESC, id DESC) AS place
    FROM tasks
    WHERE user_id = $1
      AND deleted_at IS NULL
    ORDER BY created_at DESC, id DESC
    LIMIT $2::bigint + 1
)
SELECT
    '[' || coalesce((SELECT string_agg(body, ',' ORDER BY place) FROM found WHERE place <= $2), '') || ']' AS body,
    (SELECT created_at FROM found WHERE place > $2) AS next_created_at,
    (SELECT id FROM found WHERE place > $2) AS next_id;
SQL

for round in $(seq "$rounds"); do
    for script in "$scripts"/*.sql; do
        printf '%s\t%s\t' "$round" "$(basename "$script" .sql)"
        PGOPTIONS='-c plan_cache_mode=force_generic_plan' pgbench --no-vacuum --protocol=prepared --client=4 \
            --time="$seconds" --file="$script" "$url" 2>/dev/null | sed -n 's/^tps = \([0-9]*\).*/\1/p'
    done
done
