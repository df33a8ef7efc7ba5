-- tasks/list_tasks_by_due_date_asc
-- A page of the tasks of a user, earliest due date first, tasks without a due date last, as one JSON array.
-- The array is empty if no task matches, or if the current tag is in if_none_match: the client has the list already.
-- next_key and next_id are the sort key and the id of the next page's first task; NULL if there is no next page.
-- $1 user_id text  the owner, from the token
-- $2 completed boolean  true for completed tasks only, false for pending ones only; NULL for both
-- $3 page_size bigint  the maximum number of tasks
-- $4 from_key text  the due date of the page's first task, RFC 3339; NULL for the first page, or without a due date
-- $5 from_id uuid  the id of the first task of the page; NULL for the first page
-- $6 if_none_match text[]  the tags that the client has, or * for any tag; NULL for none
-- $7 priorities text[]  only tasks with one of these priorities; NULL for all
-- $8 due_before text  only tasks that are due before this time, RFC 3339; NULL for all
-- $9 due_after text  only tasks that are due after this time, RFC 3339; NULL for all
-- $10 search text  only tasks with this text in the title or description, ignoring case; NULL for all
-- Expects users_pkey and tasks_due_date_asc_idx.
WITH etag AS MATERIALIZED (
    SELECT
        tag,
        (tag = any($6) OR '*' = any($6)) AS is_known
    FROM (SELECT generation || '-' || revision AS tag FROM users WHERE id = $1) AS owner
),
found AS MATERIALIZED (
    SELECT
        body,
        coalesce(due_date, 'infinity') AS key,
        id
    FROM tasks
    WHERE user_id = $1
      AND deleted_at IS NULL
      AND (coalesce(due_date, 'infinity'), id) >= (
          CASE WHEN $5::uuid IS NULL THEN '-infinity' ELSE coalesce($4::text::timestamptz, 'infinity') END,
          coalesce($5::uuid, '00000000-0000-0000-0000-000000000000')
      )
      AND (SELECT etag.is_known FROM etag) IS NOT TRUE
      -- CASE hides the filters from the planner, which would otherwise expect almost no rows and sort all tasks.
      AND CASE
          WHEN
              ($2::boolean IS NULL OR completed = $2)
              AND ($7::text[] IS NULL OR priority = any($7))
              AND ($8::text IS NULL OR due_date < (SELECT $8::text::timestamptz))
              AND ($9::text IS NULL OR due_date > (SELECT $9::text::timestamptz))
              AND CASE
                  WHEN $10::text IS NULL THEN true
                  -- For ASCII, lower() is twice as fast with COLLATE "C".
                  WHEN (SELECT octet_length($10) = char_length($10))
                      THEN
                          strpos(lower(title COLLATE "C"), (SELECT lower($10 COLLATE "C"))) > 0
                          OR strpos(lower(description COLLATE "C"), (SELECT lower($10 COLLATE "C"))) > 0
                  -- normalize(lower(normalize())) makes canonically equivalent texts equal. It is slow. So a text
                  -- without U+0307 whose lower case is in NFC gets lower() alone. Texts with U+0307 are normalized
                  -- first, because lower() makes i from U+0130, but keeps the dot of I and U+0307.
                  ELSE
                      strpos(
                          CASE
                              WHEN
                                  octet_length(title) = char_length(title)
                                  OR (strpos(title, U&'\0307') = 0 AND lower(title) IS NFC NORMALIZED)
                                  THEN lower(title)
                              ELSE normalize(lower(normalize(title)))
                          END,
                          (SELECT normalize(lower(normalize($10))))
                      ) > 0
                      OR strpos(
                          CASE
                              WHEN
                                  octet_length(description) = char_length(description)
                                  OR (strpos(description, U&'\0307') = 0 AND lower(description) IS NFC NORMALIZED)
                                  THEN lower(description)
                              ELSE normalize(lower(normalize(description)))
                          END,
                          (SELECT normalize(lower(normalize($10))))
                      ) > 0
              END
              THEN true
      END
    ORDER BY coalesce(due_date, 'infinity'), id
    LIMIT $3::bigint + 1
),
next_page AS MATERIALIZED (
    SELECT
        key,
        id
    FROM found
    WHERE (SELECT count(f.id) FROM found AS f) > $3
    ORDER BY key DESC, id DESC
    LIMIT 1
)
SELECT
    '[' || coalesce((
        SELECT string_agg(found.body, ',' ORDER BY found.key, found.id)
        FROM found
        WHERE found.id IS DISTINCT FROM (SELECT next_page.id FROM next_page)
    ), '') || ']' AS body,
    (SELECT tag FROM etag) AS tag,
    (
        SELECT to_char(nullif(key, 'infinity') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        FROM next_page
    ) AS next_key,
    (SELECT id FROM next_page) AS next_id;
