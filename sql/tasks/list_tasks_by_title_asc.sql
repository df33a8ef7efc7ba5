-- tasks/list_tasks_by_title_asc
-- A page of the tasks of a user in order of title, ignoring case, as one JSON array.
-- No tasks give an empty array. next_key and next_id name the first task of the next page; NULL if there is none.
-- $1 user_id text  the owner, from the token
-- $2 completed boolean  only tasks that are, or are not; NULL for both
-- $3 page_size bigint  how many tasks at most
-- $4 from_key text  where the page begins, in lower case; NULL for the first page
-- $5 from_id uuid  the id of the first task of the page; NULL for the first page
-- Expects tasks_title_idx.
WITH following AS (
    SELECT
        lower(title) AS key,
        id
    FROM tasks
    WHERE user_id = $1
      AND deleted_at IS NULL
      AND ($2::boolean IS NULL OR completed = $2)
      AND (lower(title) COLLATE "C", id) >= (
          coalesce($4, ''),
          coalesce($5::uuid, '00000000-0000-0000-0000-000000000000')
      )
    ORDER BY lower(title) COLLATE "C", id
    LIMIT 1 OFFSET $3
)
SELECT
    '[' || coalesce((
        SELECT string_agg(page.body, ',' ORDER BY page.lowered_title, page.id)
        FROM (
            SELECT
                body,
                lower(title) COLLATE "C" AS lowered_title,
                id
            FROM tasks
            WHERE user_id = $1
              AND deleted_at IS NULL
              AND ($2::boolean IS NULL OR completed = $2)
              AND (lower(title) COLLATE "C", id) >= (
                  coalesce($4, ''),
                  coalesce($5::uuid, '00000000-0000-0000-0000-000000000000')
              )
            ORDER BY lower(title) COLLATE "C", id
            LIMIT $3
        ) AS page
    ), '') || ']' AS body,
    (SELECT key FROM following) AS next_key,
    (SELECT id FROM following) AS next_id;
