#!/usr/bin/env bash
# Ways to read the first page of a list and where the next one begins, on the same 400 users with 50 tasks each.
# Usage: benchmarks/pages.sh postgres://user@host/an_empty_migrated_database [rounds] [seconds]
# Needs pgbench. Prints the transactions per second of each way in each round; compare within a round.
set -euo pipefail
url=$1 rounds=${2:-5} seconds=${3:-4}
sql=$(dirname "$0")/../sql/tasks
source "$(dirname "$0")/pgbench.sh"

seed tasks 40
script list_tasks 1000 < "$sql/list_tasks.sql"
script list_tasks_by_created_desc NULL::boolean 1000 NULL NULL < "$sql/list_tasks_by_created_desc.sql"
script one_scan_and_row_number 1000 <<'SQL'
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
    for statement in list_tasks list_tasks_by_created_desc one_scan_and_row_number; do
        printf '%s\t%s\t%s\n' "$round" "$statement" "$(rate "$statement")"
    done
done
