"""Ownership: the syntax tree of each statement proves that it reads and writes only rows of its user."""

import re

import pytest

from tests.support.ownership import violations
from tests.support.sql_files import ENDPOINT_STATEMENTS, USER_STATEMENTS, SqlFile, for_each

OWNER_CONJUNCT = re.compile(r"(\b\w+\.)?\b(user_id|id) = \$1(?!\d)")


# The statements of the service


@for_each(ENDPOINT_STATEMENTS)
def test_each_statement_reads_and_writes_only_rows_of_its_user(file: SqlFile) -> None:
    assert violations(file.text) == []


@for_each(USER_STATEMENTS.values())
def test_a_missing_or_wrong_owner_condition_is_detected(file: SqlFile) -> None:
    missing = [_replace(file.code, match, "true") for match in OWNER_CONJUNCT.finditer(file.code)]
    wrong = [_replace(file.code, match, "$2") for match in re.finditer(r"\$1(?!\d)", file.code)]

    assert wrong
    assert [text for text in missing + wrong if not violations(text)] == []


def _replace(text: str, match: re.Match[str], replacement: str) -> str:
    return text[: match.start()] + replacement + text[match.end() :]


# The checker

SOUND = {
    "an unqualified owner of the only table": "SELECT body FROM tasks WHERE user_id = $1 AND id = $2",
    "an unqualified user": "SELECT revision FROM users WHERE id = $1",
    "a qualified owner": "SELECT t.body FROM tasks AS t WHERE t.user_id = $1",
    "an owner among nested conjuncts": "SELECT body FROM tasks WHERE (id = $2 AND (completed AND user_id = $1))",
    "an owner in the ON of an inner join": """
        SELECT t.body FROM users AS u JOIN tasks AS t ON t.user_id = $1 AND t.user_id = u.id WHERE u.id = $1""",
    "an owner for each table of a cross join": """
        SELECT t.body FROM users CROSS JOIN tasks AS t WHERE users.id = $1 AND t.user_id = $1""",
    "an owner at each level": """
        SELECT body FROM tasks WHERE user_id = $1 AND EXISTS (SELECT FROM users WHERE id = $1)""",
    "a quoted name": 'SELECT body FROM "tasks" WHERE "user_id" = $1',
    "an outer join of CTEs": """
        WITH a AS (SELECT id FROM users WHERE id = $1), b AS (SELECT id FROM tasks WHERE user_id = $1)
        SELECT b.id FROM a LEFT JOIN b ON true""",
    "VALUES of the user": "INSERT INTO tasks (user_id, title) VALUES ($1, $2), ($1, $3)",
    "an INSERT of a SELECT": """
        WITH u AS (SELECT revision FROM users WHERE id = $1)
        INSERT INTO tasks (title, user_id, revision) SELECT $2, $1, u.revision FROM u""",
    "a conflict over the owner's own row": """
        INSERT INTO tasks (user_id, id) VALUES ($1, $2) ON CONFLICT (user_id, id) DO UPDATE SET id = excluded.id""",
    "an UPDATE of the user's row": "UPDATE users SET revision = revision + 1 WHERE id = $1",
    "a DELETE of the user's row": "DELETE FROM tasks AS t USING users AS u WHERE t.user_id = $1 AND u.id = $1",
}

UNSOUND = {
    "no owner": "SELECT body FROM tasks WHERE id = $2",
    "no WHERE": "SELECT body FROM tasks",
    "no owner of a user": "SELECT revision FROM users",
    "TABLE": "TABLE tasks",
    "an owner under OR": "SELECT body FROM tasks WHERE user_id = $1 OR completed",
    "an owner under NOT": "SELECT body FROM tasks WHERE NOT user_id = $1",
    "an owner within CASE": "SELECT body FROM tasks WHERE CASE WHEN completed THEN user_id = $1 ELSE true END",
    "an owner compared with IS TRUE": "SELECT body FROM tasks WHERE (user_id = $1) IS NOT FALSE",
    "an owner in HAVING": "SELECT body FROM tasks GROUP BY body, user_id HAVING user_id = $1",
    "an owner in a FILTER": "SELECT string_agg(body, ',') FILTER (WHERE user_id = $1) FROM tasks",
    "an owner in a subselect only": "SELECT body FROM tasks WHERE id IN (SELECT id FROM tasks WHERE user_id = $1)",
    "an owner outside of a subselect only": """
        SELECT body FROM tasks WHERE user_id = $1 AND id IN (SELECT id FROM tasks)""",
    "an owner outside of a subselect in FROM": """
        SELECT page.body FROM (SELECT body, user_id FROM tasks) AS page WHERE page.user_id = $1""",
    "another parameter": "SELECT body FROM tasks WHERE user_id = $2",
    "a parameter with the same first digit": "SELECT body FROM tasks WHERE user_id = $10",
    "a literal": "SELECT body FROM tasks WHERE user_id = 'alice'",
    "a cast parameter": "SELECT body FROM tasks WHERE user_id = $1::varchar(3)",
    "a coalesced parameter": "SELECT body FROM tasks WHERE user_id = coalesce($1, user_id)",
    "another comparison": "SELECT body FROM tasks WHERE user_id <> $1",
    "a pattern": "SELECT body FROM tasks WHERE user_id LIKE $1",
    "a user-defined operator": "SELECT body FROM tasks WHERE user_id OPERATOR(public.=) $1",
    "ANY": "SELECT body FROM tasks WHERE user_id = ANY ($1)",
    "IN": "SELECT body FROM tasks WHERE user_id IN ($1, $2)",
    "IS NOT DISTINCT FROM": "SELECT body FROM tasks WHERE user_id IS NOT DISTINCT FROM $1",
    "a row comparison": "SELECT body FROM tasks WHERE (user_id, id) >= ($1, $2)",
    "another column": "SELECT body FROM tasks WHERE title = $1",
    "the owner column of the other table": "SELECT revision FROM users WHERE user_id = $1",
    "the alias of another table": """
        SELECT t.body FROM tasks AS t JOIN users AS u ON u.id = t.user_id WHERE u.id = $1 AND u.user_id = $1""",
    "the name of a table with an alias": "SELECT body FROM tasks AS t WHERE tasks.user_id = $1",
    "one of two tables": "SELECT a.body FROM tasks AS a, tasks AS b WHERE a.user_id = $1",
    "an unqualified owner of two tables": "SELECT t.body FROM tasks AS t CROSS JOIN users AS u WHERE user_id = $1",
    "an unqualified owner beside a CTE": """
        WITH c AS (SELECT $1 AS user_id) SELECT t.body FROM tasks AS t, c WHERE user_id = $1""",
    "an owner by transitivity": "SELECT t.body FROM tasks AS t, users AS u WHERE t.user_id = u.id AND u.id = $1",
    "an owner by USING": "WITH c AS (SELECT $1 AS user_id) SELECT tasks.body FROM tasks JOIN c USING (user_id)",
    "a LEFT JOIN": """
        SELECT t.body FROM users AS u LEFT JOIN tasks AS t ON t.user_id = $1 WHERE u.id = $1 AND t.user_id = $1""",
    "an owner in the ON of an outer join": """
        WITH c AS (SELECT 1) SELECT t.body FROM tasks AS t LEFT JOIN c ON t.user_id = $1""",
    "an owner in the ON of a FULL JOIN": """
        WITH c AS (SELECT 1) SELECT t.body FROM c FULL JOIN tasks AS t ON t.user_id = $1""",
    "an inner join within an outer one": """
        WITH c AS (SELECT 1) SELECT t.body FROM c LEFT JOIN (tasks AS t JOIN c AS d ON t.user_id = $1) ON true""",
    "a join with an alias": """
        SELECT t.body FROM tasks AS t WHERE t.user_id = $1
            AND EXISTS (SELECT FROM (tasks AS t JOIN users AS u ON true) AS j WHERE t.user_id = $1 AND u.id = $1)""",
    "renamed columns": "SELECT t.c FROM tasks AS t (c, user_id) WHERE t.user_id = $1",
    "renamed columns of the only table": "SELECT c FROM tasks AS t (c, user_id) WHERE user_id = $1",
    "a lateral subselect": """
        SELECT l.body FROM users AS u CROSS JOIN LATERAL (SELECT body FROM tasks AS t WHERE t.user_id = u.id) AS l
        WHERE u.id = $1""",
    "EXISTS": "SELECT 1 WHERE EXISTS (SELECT FROM tasks WHERE id = $2)",
    "a subselect in the select list": "SELECT (SELECT body FROM tasks WHERE id = $2)",
    "a subselect in ORDER BY": "SELECT body FROM tasks WHERE user_id = $1 ORDER BY (SELECT id FROM users)",
    "a subselect in LIMIT": "SELECT body FROM tasks WHERE user_id = $1 LIMIT (SELECT revision FROM users)",
    "a subselect in RETURNING": "DELETE FROM tasks WHERE user_id = $1 RETURNING (SELECT id FROM users)",
    "a branch of UNION": "SELECT body FROM tasks WHERE user_id = $1 UNION ALL SELECT body FROM tasks",
    "a branch of EXCEPT": "SELECT body FROM tasks EXCEPT SELECT body FROM tasks WHERE user_id = $1",
    "a CTE": "WITH c AS (SELECT body FROM tasks) SELECT body FROM c",
    "a CTE within a subselect": "SELECT (WITH c AS (SELECT body FROM tasks) SELECT body FROM c)",
    "a CTE named like a table": "WITH tasks AS (SELECT $1 AS user_id) SELECT user_id FROM tasks WHERE user_id = $1",
    "a CTE that is not visible": "WITH a AS (SELECT id FROM b), b AS (SELECT 1 AS id) SELECT id FROM a",
    "a CTE of another level": "SELECT (WITH c AS (SELECT 1 AS id) SELECT id FROM c), (SELECT id FROM c)",
    "a data-modifying CTE": "WITH c AS (DELETE FROM tasks WHERE id = $2 RETURNING body) SELECT body FROM c",
    "another table": "SELECT name FROM schema_migrations",
    "a view": "SELECT body FROM all_tasks WHERE user_id = $1",
    "a catalog": "SELECT most_common_vals FROM pg_stats",
    "a table named with its schema": "SELECT body FROM public.tasks WHERE user_id = $1",
    "a table in quotes": 'SELECT body FROM "tasks" AS "T" WHERE t.user_id = $1',
    "a table whose name differs in case": 'SELECT body FROM "Tasks" WHERE user_id = $1',
    "TABLESAMPLE": "SELECT body FROM tasks TABLESAMPLE system (10) WHERE user_id = $1",
    "SELECT INTO": "SELECT body INTO mine FROM tasks WHERE user_id = $1",
    "UPDATE": "UPDATE tasks SET title = $3 WHERE id = $2",
    "UPDATE without WHERE": "UPDATE tasks SET title = $2",
    "UPDATE with the owner of another alias": """
        UPDATE tasks AS t SET title = $2 FROM users AS u WHERE u.id = $1 AND u.id = t.user_id""",
    "UPDATE FROM": "UPDATE users AS u SET revision = t.revision FROM tasks AS t WHERE u.id = $1",
    "UPDATE of the owner": "UPDATE tasks SET user_id = $2 WHERE user_id = $1",
    "UPDATE of the owner to itself": "UPDATE tasks SET user_id = $1 WHERE user_id = $1",
    "UPDATE of the owner and another column": "UPDATE tasks SET (title, user_id) = ($2, $3) WHERE user_id = $1",
    "UPDATE of a user's id": "UPDATE users SET id = $2 WHERE id = $1",
    "UPDATE at a cursor": "UPDATE tasks SET title = $2 WHERE CURRENT OF c",
    "UPDATE of another table": "UPDATE settings SET value = $2 WHERE user_id = $1",
    "DELETE": "DELETE FROM tasks WHERE id = $2",
    "DELETE USING": "DELETE FROM tasks AS t USING users AS u WHERE u.id = $1 AND t.user_id = u.id",
    "DELETE USING another's rows": "DELETE FROM tasks AS t USING users AS u WHERE t.user_id = $1",
    "VALUES with another owner": "INSERT INTO tasks (user_id, title) VALUES ($2, $1)",
    "VALUES with one bad row": "INSERT INTO tasks (user_id, title) VALUES ($1, $2), ($3, $2)",
    "VALUES with a default": "INSERT INTO tasks (user_id, title) VALUES (DEFAULT, $1)",
    "VALUES with an expression": "INSERT INTO tasks (user_id, title) VALUES (lower($1), $2)",
    "DEFAULT VALUES": "INSERT INTO tasks DEFAULT VALUES",
    "INSERT without columns": "INSERT INTO tasks VALUES ($1, $2)",
    "INSERT without an owner": "INSERT INTO tasks (title) VALUES ($1)",
    "INSERT of another user": "INSERT INTO users (id, revision) VALUES ($2, 1)",
    "INSERT SELECT with another owner": """
        WITH u AS (SELECT id FROM users WHERE id = $1) INSERT INTO tasks (user_id, title) SELECT u.id, $2 FROM u""",
    "INSERT SELECT from another's rows": """
        INSERT INTO tasks (user_id, title) SELECT $1, title FROM tasks""",
    "INSERT SELECT with a bad branch": "INSERT INTO tasks (user_id, title) SELECT $1, $2 UNION SELECT $2, $1",
    "INSERT SELECT of a star": """
        WITH c AS (SELECT FROM users WHERE id = $1)
        INSERT INTO tasks (title, user_id) SELECT c.*, $1, $2 FROM c""",
    "INSERT into another table": "INSERT INTO settings (user_id) VALUES ($1)",
    "INSERT into a schema": "INSERT INTO other.tasks (user_id) VALUES ($1)",
    "ON CONFLICT over the id alone": """
        INSERT INTO tasks (user_id, id) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET title = $3""",
    "ON CONFLICT without a target": "INSERT INTO tasks (user_id, id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    "ON CONFLICT over a constraint": """
        INSERT INTO tasks (user_id, id) VALUES ($1, $2) ON CONFLICT ON CONSTRAINT c DO UPDATE SET title = $3""",
    "ON CONFLICT over a collation of the owner": """
        INSERT INTO users (id) VALUES ($1) ON CONFLICT (id COLLATE any_case) DO UPDATE SET revision = 1""",
    "ON CONFLICT over an expression": """
        INSERT INTO users (id) VALUES ($1) ON CONFLICT (lower(id)) DO UPDATE SET revision = 1""",
    "ON CONFLICT that updates the owner": """
        INSERT INTO tasks (user_id, id) VALUES ($1, $2) ON CONFLICT (user_id, id) DO UPDATE SET user_id = $3""",
    "ON CONFLICT that reads another's rows": """
        INSERT INTO users (id) VALUES ($1)
        ON CONFLICT (id) DO UPDATE SET revision = (SELECT t.revision FROM tasks AS t)""",
    "MERGE": """
        MERGE INTO tasks AS t USING users AS u ON t.user_id = $1 AND u.id = $1 WHEN MATCHED THEN DELETE""",
    "TRUNCATE": "TRUNCATE tasks",
    "COPY": "COPY tasks TO STDOUT",
    "COPY of a query": "COPY (SELECT body FROM tasks WHERE user_id = 'x') TO STDOUT",
    "DO": "DO 'BEGIN DELETE FROM tasks; END'",
    "CALL": "CALL purge($1)",
    "EXPLAIN": "EXPLAIN ANALYZE DELETE FROM tasks",
    "PREPARE": "PREPARE p AS SELECT body FROM tasks",
    "DECLARE": "DECLARE c CURSOR FOR SELECT body FROM tasks",
    "LOCK": "LOCK TABLE tasks",
    "DROP": "DROP TABLE tasks",
    "a function that runs SQL": "SELECT query_to_xml('SELECT body FROM tasks', true, true, '')",
    "a function that reads a table": "SELECT table_to_xml('tasks', true, true, '')",
    "a user-defined function": "SELECT count_tasks($1)",
    "a function with a schema": "SELECT public.lower(title) FROM tasks WHERE user_id = $1",
    "an unknown operator": "SELECT body FROM tasks WHERE user_id = $1 AND title @@@ $2",
    "a set-returning function": "SELECT id FROM generate_series(1, 3) AS id",
    "a set-returning function in the select list": "SELECT unnest($1::text[])",
    "a second statement": "SELECT 1; SELECT body FROM tasks",
}


@pytest.mark.parametrize("sql", [pytest.param(sql, id=name) for name, sql in SOUND.items()])
def test_statements_about_one_user_have_no_violations(sql: str) -> None:
    assert violations(sql) == []


@pytest.mark.parametrize("sql", [pytest.param(sql, id=name) for name, sql in UNSOUND.items()])
def test_statements_that_may_affect_other_users_have_violations(sql: str) -> None:
    assert violations(sql) != []
