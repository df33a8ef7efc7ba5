-- tasks/list_tasks
-- The first page of the list as most clients ask for it: all tasks of a user, newest first, as one JSON array.
-- No tasks give an empty array. next_key and next_id name the first task of the next page; NULL if there is none.
-- $1 user_id text  the owner, from the token
-- $2 page_size bigint  how many tasks at most
-- Expects tasks_created_at_idx.
WITH following AS (
    SELECT
        to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS key,
        id
    FROM tasks
    WHERE user_id = $1
      AND deleted_at IS NULL
    ORDER BY created_at DESC, id DESC
    LIMIT 1 OFFSET $2
)
SELECT
    '[' || coalesce((
        SELECT string_agg(page.body, ',' ORDER BY page.created_at DESC, page.id DESC)
        FROM (
            SELECT
                body,
                created_at,
                id
            FROM tasks
            WHERE user_id = $1
              AND deleted_at IS NULL
            ORDER BY created_at DESC, id DESC
            LIMIT $2
        ) AS page
    ), '') || ']' AS body,
    (SELECT key FROM following) AS next_key,
    (SELECT id FROM following) AS next_id;
