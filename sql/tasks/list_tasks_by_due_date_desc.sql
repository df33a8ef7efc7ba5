-- tasks/list_tasks_by_due_date_desc
-- A page of the tasks of a user, latest due date first and those without one last, as one JSON array.
-- No tasks give an empty array. next_key and next_id name the first task of the next page; NULL if there is none.
-- $1 user_id text  the owner, from the token
-- $2 completed boolean  only tasks that are, or are not; NULL for both
-- $3 page_size bigint  how many tasks at most
-- $4 from_key text  where the page begins, as RFC 3339; NULL for the first page and for tasks without one
-- $5 from_id uuid  the id of the first task of the page; NULL for the first page
-- Expects tasks_due_date_desc_idx.
WITH following AS (
    SELECT
        to_char(due_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS key,
        id
    FROM tasks
    WHERE user_id = $1
      AND deleted_at IS NULL
      AND ($2::boolean IS NULL OR completed = $2)
      AND (coalesce(due_date, '-infinity'), id) <= (
          CASE WHEN $5::uuid IS NULL THEN 'infinity' ELSE coalesce($4::text::timestamptz, '-infinity') END,
          coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      )
    ORDER BY coalesce(due_date, '-infinity') DESC, id DESC
    LIMIT 1 OFFSET $3
)
SELECT
    '[' || coalesce((
        SELECT string_agg(page.body, ',' ORDER BY page.due DESC, page.id DESC)
        FROM (
            SELECT
                body,
                coalesce(due_date, '-infinity') AS due,
                id
            FROM tasks
            WHERE user_id = $1
              AND deleted_at IS NULL
              AND ($2::boolean IS NULL OR completed = $2)
              AND (coalesce(due_date, '-infinity'), id) <= (
                  CASE WHEN $5::uuid IS NULL THEN 'infinity' ELSE coalesce($4::text::timestamptz, '-infinity') END,
                  coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
              )
            ORDER BY coalesce(due_date, '-infinity') DESC, id DESC
            LIMIT $3
        ) AS page
    ), '') || ']' AS body,
    (SELECT key FROM following) AS next_key,
    (SELECT id FROM following) AS next_id;
