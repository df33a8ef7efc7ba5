"""Serving: gunicorn's master process, and the workers that run the application.

Import its modules by their names: `serve` is in `command`. This file imports nothing, so that gunicorn's master loads
`worker` and `gunicorn_config` only: after a HUP, the new workers load the code that is installed then.
"""
