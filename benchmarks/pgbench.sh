# What the scripts beside this one share: the same users and tasks, and our statements as pgbench sends them.
# To be sourced, with $url and $seconds set; needs psql and pgbench.

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

users=$(psql --quiet --no-align --tuples-only "$url" --command 'SELECT count(*) FROM users')
if [ "$users" != 0 ]; then
    echo "The database must be empty, since its tasks are thrown away: make another one, and migrate it." >&2
    exit 1
fi

# usage: seed TABLE DESCRIPTION_LENGTH: 400 users with 50 tasks each
seed() {
    psql --quiet "$url" <<SQL
INSERT INTO users (id, revision) SELECT 'user' || i, 50 FROM generate_series(1, 400) AS i ON CONFLICT DO NOTHING;
TRUNCATE $1;
INSERT INTO $1 (id, user_id, title, description, revision, created_at)
SELECT md5(u || '-' || t)::uuid, 'user' || u, 'Task ' || t, left(repeat('Some words about what is to be done. ', 30), $2),
    t, now() - t * interval '1 minute'
FROM generate_series(1, 400) AS u, generate_series(1, 50) AS t;
VACUUM (FULL) users, $1;
VACUUM (ANALYZE) users, $1; -- which also tells that all rows are visible, as time would
SQL
}

# usage: script NAME VALUE... < STATEMENT: writes $folder/NAME.sql, with the values for $2 and so on, and NULL for the
# rest. The user is drawn, as are :t, the number of one of the user's tasks, and :r, any number. :page_size is a real
# parameter: with a literal LIMIT the plan would be another one. (pgbench would take :MI for a variable, too.)
script() {
    local name=$1 number=1 edit="s/:MI:/.MI./;s/\\\$1\\b/('user' || :n::text)/g" value
    shift
    for value; do
        number=$((number + 1))
        edit="$edit;s/\\\$$number\\b/($value)/g"
    done
    edit="$edit;s/\\\$[0-9][0-9]*\\b/NULL/g"
    { printf '\\set n random(1, 400)\n\\set t random(1, 50)\n\\set r random(1, 1000000)\n'
        sed -e '/^--/d' -e "$edit"; } > "$folder/$name.sql"
}

# usage: rate NAME [SCHEMA]: transactions per second of 4 clients, who find tables in the schema first
rate() {
    PGOPTIONS="-c search_path=${2:-public},public -c plan_cache_mode=force_generic_plan" pgbench --no-vacuum \
        --protocol=prepared --client=4 --time="$seconds" --define="page_size=${page_size:-1000}" --file="$folder/$1.sql" "$url" 2>/dev/null |
        sed -n 's/^tps = \([0-9]*\).*/\1/p'
}
