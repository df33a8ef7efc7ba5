#!/usr/bin/env bash
# What the index over revisions, which list_changes needs, costs those who write: the same statements with it and without it.
# Usage: benchmarks/revision_index.sh postgres://user@host/an_empty_migrated_database [rounds] [seconds]
# Needs pgbench. Prints the median transactions per second of interleaved rounds.
set -euo pipefail
url=$1 rounds=${2:-9} seconds=${3:-2}
sql=$(dirname "$0")/../sql/tasks
source "$(dirname "$0")/pgbench.sh"

description="'Some words about what there is to be done'"
id="md5(:n::text || '-' || :t::text)::uuid"
script create_task "'Task ' || :r::text" "$description" "'low'" "'2027-01-01T09:00:00Z'" < "$sql/create_task.sql"
script complete_task "$id" NULL::text[] NULL::boolean < "$sql/complete_task.sql"

for statement in create_task complete_task; do
    for round in $(seq "$rounds"); do
        for way in with without; do
            seed tasks 40
            psql --quiet "$url" --command 'DROP INDEX IF EXISTS tasks_revision_idx'
            if [ $way = with ]; then
                psql --quiet "$url" --command 'CREATE INDEX tasks_revision_idx ON tasks (user_id, revision)'
            fi
            rate $statement >> "$folder/$way"
        done
    done
    printf '%s' "$statement"
    for way in with without; do
        printf '\t%s %s' "$way" "$(sort -n "$folder/$way" | sed -n "$(((rounds + 1) / 2))p")"
        rm "$folder/$way"
    done
    printf '\n'
done
