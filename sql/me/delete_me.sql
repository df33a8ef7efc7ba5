-- me/delete_me
-- Deletes a user. The foreign key then deletes all tasks of the user. deleted is false if the user did not exist.
-- $1 user_id text  the owner, from the token
-- Expects users_pkey.
WITH owner AS (
    DELETE FROM users
    WHERE id = $1
    RETURNING id
)
SELECT (SELECT id FROM owner) IS NOT NULL AS deleted;
