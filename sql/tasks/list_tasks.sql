-- tasks/list_tasks
-- The first page of the list that most clients request: all tasks of a user, newest first, as one JSON array.
-- The array is empty if there are no tasks, or if the current tag is in if_none_match: the client has the list already.
-- next_key and next_id are the sort key and the id of the next page's first task; NULL if there is no next page.
-- $1 user_id text  the owner, from the token
-- $2 page_size bigint  the maximum number of tasks
-- $3 if_none_match text[]  the tags that the client has, or * for any tag; NULL for none
-- Expects users_pkey and tasks_created_at_idx.
WITH etag AS MATERIALIZED (
    SELECT
        tag,
        (tag = any($3) OR '*' = any($3)) AS is_known
    FROM (SELECT generation || '-' || revision AS tag FROM users WHERE id = $1) AS owner
),
page AS MATERIALIZED (
    SELECT
        count(*) AS tasks,
        string_agg(found.body, ',' ORDER BY found.created_at DESC, found.id DESC) AS bodies
    FROM (
        SELECT
            body,
            created_at,
            id
        FROM tasks
        WHERE user_id = $1
          AND deleted_at IS NULL
          AND (SELECT etag.is_known FROM etag) IS NOT TRUE
        ORDER BY created_at DESC, id DESC
        LIMIT $2
    ) AS found
),
next_page AS MATERIALIZED (
    SELECT
        to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS key,
        id
    FROM tasks
    WHERE user_id = $1
      AND deleted_at IS NULL
      AND (SELECT page.tasks FROM page) = $2
    ORDER BY created_at DESC, id DESC
    LIMIT 1 OFFSET $2
)
SELECT
    '[' || coalesce((SELECT bodies FROM page), '') || ']' AS body,
    (SELECT tag FROM etag) AS tag,
    (SELECT key FROM next_page) AS next_key,
    (SELECT id FROM next_page) AS next_id;
