-- me/export_tasks
-- A page of the tasks of a user, oldest first, as JSON with one task on each line.
-- body is NULL if there are no tasks. next_key and next_id are the sort key and the id of the next page's first task;
-- NULL if there is no next page.
-- $1 user_id text  the owner, from the token
-- $2 page_size bigint  the maximum number of tasks
-- $3 from_key text  the creation time of the first task of the page, RFC 3339; NULL for the first page
-- $4 from_id uuid  the id of the first task of the page; NULL for the first page
-- Expects tasks_created_at_idx.
WITH found AS MATERIALIZED (
    SELECT
        body,
        created_at AS key,
        id
    FROM tasks
    WHERE user_id = $1
      AND deleted_at IS NULL
      AND (created_at, id) >= (
          coalesce($3::text::timestamptz, '-infinity'),
          coalesce($4::uuid, '00000000-0000-0000-0000-000000000000')
      )
    ORDER BY created_at, id
    LIMIT $2::bigint + 1
),
next_page AS MATERIALIZED (
    SELECT
        key,
        id
    FROM found
    WHERE (SELECT count(f.id) FROM found AS f) > $2
    ORDER BY key DESC, id DESC
    LIMIT 1
)
SELECT
    (
        SELECT string_agg(found.body || E'\n', '' ORDER BY found.key, found.id)
        FROM found
        WHERE found.id IS DISTINCT FROM (SELECT next_page.id FROM next_page)
    ) AS body,
    (SELECT to_char(key AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM next_page) AS next_key,
    (SELECT id FROM next_page) AS next_id;
