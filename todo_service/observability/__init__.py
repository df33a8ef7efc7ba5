"""Observability: a line in the log for each request, metrics for Prometheus, and the id of each request.

Import the modules of this package: this file imports nothing. So gunicorn's master loads only `logfmt` (see
todo_service/server/__init__.py). Only app.py and the package `server` use this package.
"""
