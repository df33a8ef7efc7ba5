-- tasks/list_changes
-- The changes after a revision, as one JSON object with the members since, tasks, deleted and more.
-- body is NULL if the user has another generation, or if the revision is higher than the user's revision.
-- $1 user_id text  the owner, from the token
-- $2 generation uuid  the generation of the revision; NULL for all tasks
-- $3 revision bigint  the last revision that the client has; 0 for all tasks
-- $4 page_size bigint  the maximum number of tasks and deletions
-- $5 empty_since text  the value of since for a user who is not in the database
-- Expects users_pkey and tasks_revision_idx. Reads one snapshot, so the user's revision is consistent with the tasks.
WITH owner AS MATERIALIZED (
    SELECT
        generation,
        revision
    FROM users
    WHERE id = $1
      AND ($2::uuid IS NULL OR (generation = $2 AND revision >= $3))
),
page AS MATERIALIZED (
    SELECT
        id,
        body,
        revision
    FROM tasks
    WHERE user_id = $1
      AND revision > $3
      AND ($2 IS NOT NULL OR deleted_at IS NULL)
      AND EXISTS (SELECT FROM owner)
    ORDER BY revision
    FETCH FIRST $4 ROWS WITH TIES -- an import may give several tasks the same revision
),
deleted AS MATERIALIZED (
    SELECT
        id,
        revision
    FROM page
    WHERE body IS NULL
),
beyond AS MATERIALIZED (
    SELECT id
    FROM tasks
    WHERE user_id = $1
      AND revision > (SELECT max(page.revision) FROM page)
      AND ($2 IS NOT NULL OR deleted_at IS NULL)
    ORDER BY revision
    LIMIT 1
),
next_since AS MATERIALIZED (
    SELECT
        owner.generation
        || '-'
        || coalesce((SELECT max(page.revision) FROM page WHERE EXISTS (SELECT FROM beyond)), owner.revision) AS since
    FROM owner
)
SELECT
    CASE
        WHEN $2 IS NULL OR EXISTS (SELECT FROM owner)
            THEN
                '{"since":"'
                || coalesce((SELECT since FROM next_since), $5)
                || '","tasks":['
                || coalesce((SELECT string_agg(body, ',' ORDER BY revision) FROM page), '')
                || '],"deleted":['
                || coalesce((SELECT string_agg('"' || id || '"', ',' ORDER BY revision) FROM deleted), '')
                || '],"more":'
                || (SELECT count(beyond.id) = 1 FROM beyond)
                || '}'
    END AS body;
