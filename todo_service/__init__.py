"""A minimal multi-user to-do REST service: hand-written SQL behind aiohttp."""

from importlib.metadata import version

__version__ = version("todo-service")
