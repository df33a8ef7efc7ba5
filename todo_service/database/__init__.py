"""PostgreSQL: the statements of sql/, the pool that runs them, and the migrations."""

from todo_service.database.database import DATABASE, Database, database_context
from todo_service.database.migrations import MigrationError, migrate
from todo_service.database.statements import Statement, read_statement

__all__ = [
    "DATABASE",
    "Database",
    "MigrationError",
    "Statement",
    "database_context",
    "migrate",
    "read_statement",
]
