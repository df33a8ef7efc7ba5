"""A multi-user to-do REST API on PostgreSQL, with hand-written SQL."""

from importlib.metadata import version

__version__ = version("todo-service")
