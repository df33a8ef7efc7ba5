"""`serve --embedded`: the service with its own PostgreSQL, both as child processes, for development and tests."""

from todo_service.embedded.postgres import DATA, EmbeddedError, Postgres, read_secret, run_postgres
from todo_service.embedded.serve import serve_embedded

__all__ = [
    "DATA",
    "EmbeddedError",
    "Postgres",
    "read_secret",
    "run_postgres",
    "serve_embedded",
]
