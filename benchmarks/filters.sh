#!/usr/bin/env bash
# What a page of 50 costs among 100,000 tasks of one user: the first, one in the middle, and with a filter that matches none.
# Usage: benchmarks/filters.sh postgres://user@host/an_empty_migrated_database
# Prints buffers and milliseconds of list_tasks_by_created_desc, the best of five.
set -euo pipefail
url=$1
export STATEMENT="$(dirname "$0")/../sql/tasks/list_tasks_by_created_desc.sql"

psql --quiet "$url" <<'SQL'
INSERT INTO users (id, revision) VALUES ('busy', 100000) ON CONFLICT DO NOTHING;
INSERT INTO tasks (user_id, title, description, revision, created_at)
SELECT 'busy', 'Task ' || t, 'Some words about what is to be done', t, timestamptz '2026-01-01T00:00:00Z' - t * interval '1 minute'
FROM generate_series(1, 100000) AS t
WHERE NOT EXISTS (SELECT FROM tasks);
VACUUM ANALYZE users, tasks;
SQL

explain() {
    psql --quiet --tuples-only --no-align "$url" <<SQL
SET plan_cache_mode = force_generic_plan;
\set statement \`cat "\$STATEMENT"\`
PREPARE page AS :statement
EXPLAIN (ANALYZE, BUFFERS) EXECUTE page('busy', $1);
SQL
}

summarise() {
    awk -v page="$1" '
        /Buffers: shared/ && !seen++ { gsub(/[^0-9 ]/, " "); for (i = 1; i <= NF; i++) buffers += $i }
        /Execution Time/ { printf "%s\t%d buffers\t%s ms\n", page, buffers, $3 }'
}

middle="'2025-11-27T06:40:00Z', 'ffffffff-ffff-ffff-ffff-ffffffffffff'"
for page in "first|NULL, 50, NULL, NULL" "middle|NULL, 50, $middle" "no match|true, 50, NULL, NULL"; do
    for _ in 1 2 3 4 5; do
        explain "${page#*|}" | summarise "${page%%|*}"
    done | sort -t "$(printf '\t')" -k 3 -g | head -1
done
