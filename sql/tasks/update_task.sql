-- tasks/update_task
-- Changes the given columns and returns the task. If the task already has these values, nothing changes.
-- body, revision and mismatches are NULL if the user has no task with this id. Only body is NULL if the task's revision
-- is not in if_match. mismatches has the names of the members in $12 to $14 that differ from the task: if there are
-- any, body is NULL, and nothing changes.
-- $1 user_id text  the owner, from the token
-- $2 id uuid  the task
-- $3 if_match text[]  the revisions that the task may have; NULL for any
-- $4 title text  1 to 200 characters; NULL keeps the old title
-- $5 sets_description boolean  whether $6 is to be stored
-- $6 description text  up to 1000 characters; NULL for none
-- $7 completed boolean  NULL keeps the old value
-- $8 sets_priority boolean  whether $9 is to be stored
-- $9 priority text  low, medium or high; NULL for none
-- $10 sets_due_date boolean  whether $11 is to be stored
-- $11 due_date text  RFC 3339; NULL for none
-- $12 expected_id uuid  the id that the task must have; NULL for any
-- $13 expected_user_id text  the owner that the task must have; NULL for any
-- $14 expected_created_at text  the time of creation that the task must have, RFC 3339; NULL for any
-- Expects users_pkey and tasks_pkey. Locks the user, then the task, then compares the revision of the locked task.
WITH owner AS MATERIALIZED (
    SELECT id
    FROM users
    WHERE id = $1
    FOR NO KEY UPDATE
),
current AS MATERIALIZED (
    SELECT
        t.title,
        t.description,
        t.completed,
        t.priority,
        t.due_date,
        t.revision,
        t.body,
        array_remove(ARRAY[
            CASE WHEN t.id <> $12 THEN 'id' END,
            CASE WHEN t.user_id <> $13 THEN 'user_id' END,
            CASE WHEN t.created_at <> $14::text::timestamptz THEN 'created_at' END
        ], NULL) AS mismatches
    FROM owner
    INNER JOIN tasks AS t ON t.user_id = owner.id
    WHERE t.user_id = $1
      AND t.id = $2
      AND t.deleted_at IS NULL
    FOR UPDATE OF t
),
wanted AS MATERIALIZED (
    SELECT
        coalesce($4, title) AS title,
        CASE WHEN $5::boolean THEN $6 ELSE description END AS description,
        coalesce($7, completed) AS completed,
        CASE WHEN $8::boolean THEN $9 ELSE priority END AS priority,
        CASE WHEN $10::boolean THEN $11::text::timestamptz ELSE due_date END AS due_date
    FROM current
),
bump AS (
    UPDATE users AS u
    SET revision = u.revision + 1
    FROM current CROSS JOIN wanted
    WHERE u.id = $1
      AND current.mismatches = '{}'
      AND ($3::text[] IS NULL OR current.revision::text = any($3))
      AND (
          wanted.title,
          wanted.description,
          wanted.completed,
          wanted.priority,
          wanted.due_date
      ) IS DISTINCT FROM (
          current.title,
          current.description,
          current.completed,
          current.priority,
          current.due_date
      )
    RETURNING u.revision
),
task AS (
    UPDATE tasks AS t
    SET
        title = wanted.title,
        description = wanted.description,
        completed = wanted.completed,
        priority = wanted.priority,
        due_date = wanted.due_date,
        updated_at = statement_timestamp(),
        revision = bump.revision
    FROM bump CROSS JOIN wanted
    WHERE t.user_id = $1
      AND t.id = $2
    RETURNING t.body, t.revision
)
SELECT
    coalesce(
        (SELECT body FROM task),
        (SELECT body FROM current WHERE mismatches = '{}' AND ($3 IS NULL OR revision::text = any($3)))
    ) AS body,
    coalesce((SELECT revision FROM task), (SELECT revision FROM current)) AS revision,
    (SELECT mismatches FROM current) AS mismatches;
