"""Statements: the service treats each file of sql/ correctly as a read or a write."""

from pglast.parser import parse_sql_json

from tests.support.sql_files import STATEMENTS, SqlFile, for_each
from todo_service.database.statements import read_statement


@for_each(STATEMENTS)
def test_a_statement_with_insert_update_or_delete_is_a_write(file: SqlFile) -> None:
    tree = parse_sql_json(file.text)
    changes = any(f'"{node}"' in tree for node in ("InsertStmt", "UpdateStmt", "DeleteStmt"))
    assert read_statement(file.name).writes is changes
