"""Observability: a line in the log for each request, metrics for Prometheus, and the id of each request.

Import its modules by their names: this file imports nothing, because gunicorn's master loads `logfmt`, and no more
(see todo_service/server/__init__.py). Only app.py and the package `server` use this package.
"""
