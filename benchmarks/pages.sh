#!/usr/bin/env bash
# What the first page of a list costs, on the same 400 users with 50 tasks each: all 50 tasks, or 20 of them, so that there
# is a next page; or none, for a client that has them.
# Usage: benchmarks/pages.sh postgres://user@host/an_empty_migrated_database [rounds] [seconds]
# Needs pgbench. Prints the transactions per second of each way in each round; compare within a round.
set -euo pipefail
url=$1 rounds=${2:-5} seconds=${3:-4}
sql=$(dirname "$0")/../sql/tasks
source "$(dirname "$0")/pgbench.sh"

seed tasks 40
by_created="NULL::boolean :page_size NULL NULL NULL::text[] NULL::text[] NULL NULL NULL"
script list_tasks :page_size NULL::text[] < "$sql/list_tasks.sql"
script not_modified :page_size "'{*}'::text[]" < "$sql/list_tasks.sql"
script list_tasks_by_created_desc $by_created < "$sql/list_tasks_by_created_desc.sql"

# The ways that were left out.
script next_key_always :page_size <<'SQL'
SELECT
    '[' || coalesce((
        SELECT string_agg(page.body, ',' ORDER BY page.created_at DESC, page.id DESC)
        FROM (
            SELECT body, created_at, id
            FROM tasks
            WHERE user_id = $1
              AND deleted_at IS NULL
            ORDER BY created_at DESC, id DESC
            LIMIT $2
        ) AS page
    ), '') || ']' AS body,
    (SELECT generation || '-' || revision FROM users WHERE id = $1) AS tag,
    (
        SELECT id
        FROM tasks
        WHERE user_id = $1
          AND deleted_at IS NULL
        ORDER BY created_at DESC, id DESC
        LIMIT 1 OFFSET $2
    ) AS next_id;
SQL
script row_number :page_size <<'SQL'
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
    (SELECT generation || '-' || revision FROM users WHERE id = $1) AS tag,
    (SELECT id FROM found WHERE place > $2) AS next_id;
SQL

for round in $(seq "$rounds"); do
    for statement in list_tasks not_modified list_tasks_by_created_desc next_key_always row_number; do
        for page_size in 1000 20; do
            printf '%s\t%s\t%s\t%s\n' "$round" "$statement" "$page_size" "$(rate "$statement")"
        done
    done
done
