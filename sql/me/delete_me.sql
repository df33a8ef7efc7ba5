-- me/delete_me
-- Deletes a user and, by the foreign key of their tasks, all their data. deleted is false if the user did not exist.
-- $1 user_id text  the owner, from the token
-- Expects users_pkey.
WITH owner AS (
    DELETE FROM users
    WHERE id = $1
    RETURNING id
)
SELECT (SELECT id FROM owner) IS NOT NULL AS deleted;
