#!/usr/bin/env bash
# What a page of 50 costs among 100,000 tasks of one user: the first, one in the middle, with filters that match none - so
# that all tasks are looked at - and what changed lately.
# Usage: benchmarks/filters.sh postgres://user@host/an_empty_migrated_database [description_length [letters]]
# Prints buffers and milliseconds of each, the best of five. Descriptions differ, and have 35 characters of
# 0123456789abcdef if nothing else is said; sixteen letters and a blank may be given instead.
set -euo pipefail
url=$1 length=${2:-35} letters=${3:-0123456789abcdef }
sql=$(dirname "$0")/../sql/tasks

psql --quiet "$url" <<SQL
INSERT INTO users (id, generation, revision)
VALUES ('busy', '00000000-0000-0000-0000-000000000000', 100000) ON CONFLICT DO NOTHING;
INSERT INTO tasks (user_id, title, description, revision, created_at, due_date)
SELECT
    'busy',
    'Task ' || t * 7919 % 100003,
    translate(left(words.text, $length), '0123456789abcdef ', '$letters'),
    t,
    timestamptz '2026-01-01T00:00:00Z' - t * interval '1 minute',
    timestamptz '2026-01-01T00:00:00Z' + t * 10007 % 100003 * interval '1 minute'
FROM generate_series(1, 100000) AS t,
    LATERAL (SELECT string_agg(md5(t || '-' || n), ' ') AS text FROM generate_series(0, $length / 33) AS n) AS words
WHERE NOT EXISTS (SELECT FROM tasks);
VACUUM ANALYZE users, tasks;
SQL

explain() { # statement, arguments
    STATEMENT=$sql/$1.sql psql --quiet --tuples-only --no-align "$url" <<SQL
SET plan_cache_mode = force_generic_plan;
\set statement \`cat "\$STATEMENT"\`
PREPARE page AS :statement
EXPLAIN (ANALYZE, BUFFERS) EXECUTE page('busy', $2);
SQL
}

summarise() {
    awk -v page="$1" '
        /Buffers: shared/ && !seen++ { gsub(/[^0-9 ]/, " "); for (i = 1; i <= NF; i++) buffers += $i }
        /Execution Time/ { printf "%s\t%d buffers\t%s ms\n", page, buffers, $3 }'
}

list=list_tasks_by_created_desc
middle="'2025-11-27T06:40:00Z', 'ffffffff-ffff-ffff-ffff-ffffffffffff'"
while IFS='|' read -r page statement arguments; do
    for _ in 1 2 3 4 5; do
        explain "$statement" "$arguments" | summarise "$page"
    done | sort -t "$(printf '\t')" -k 3 -g | head -1
done <<PAGES
list_tasks, 50 of them|list_tasks|50, NULL
the same, not modified|list_tasks|50, '{00000000-0000-0000-0000-000000000000-100000}'
list_tasks, 1000 of them|list_tasks|1000, NULL
the same, not modified|list_tasks|1000, '{00000000-0000-0000-0000-000000000000-100000}'
first page|$list|NULL, 50, NULL, NULL, NULL, NULL, NULL, NULL, NULL
from the 50,000th task on|$list|NULL, 50, $middle, NULL, NULL, NULL, NULL, NULL
status: none|$list|true, 50, NULL, NULL, NULL, NULL, NULL, NULL, NULL
priority: none|$list|NULL, 50, NULL, NULL, NULL, '{low,high}', NULL, NULL, NULL
due_before and due_after: none|$list|NULL, 50, NULL, NULL, NULL, NULL, '2030-01-01Z', '2029-01-01Z', NULL
q: none|$list|NULL, 50, NULL, NULL, NULL, NULL, NULL, NULL, 'nowhere'
q: none, by title|list_tasks_by_title_asc|NULL, 50, NULL, NULL, NULL, NULL, NULL, NULL, 'nowhere'
q: none, by due date|list_tasks_by_due_date_asc|NULL, 50, NULL, NULL, NULL, NULL, NULL, NULL, 'nowhere'
q: none, not ASCII|$list|NULL, 50, NULL, NULL, NULL, NULL, NULL, NULL, 'нигде'
q: none, not ASCII, by title|list_tasks_by_title_asc|NULL, 50, NULL, NULL, NULL, NULL, NULL, NULL, 'нигде'
q: none, not ASCII, by due date|list_tasks_by_due_date_asc|NULL, 50, NULL, NULL, NULL, NULL, NULL, NULL, 'нигде'
all filters: none|$list|false, 50, NULL, NULL, NULL, '{low,high}', '2030-01-01Z', '2020-01-01Z', 'nowhere'
changes since the last 50|list_changes|'00000000-0000-0000-0000-000000000000', 99950, 1000, ''
changes since the beginning, 50|list_changes|NULL, 0, 50, ''
PAGES
