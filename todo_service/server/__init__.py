"""Serving: gunicorn's master process, and the workers that run the application.

Import the modules of this package, for example `command` for `serve`: this file imports nothing. So gunicorn's master
loads only `worker` and `gunicorn_config`. After a HUP, new workers load the newly installed code.

How a worker stops after SIGTERM, and the seconds that each step may take:

- graceful.py waits for in-flight requests: 18 (DRAIN_SECONDS)
- aiohttp closes the connections that are left: 2 (shutdown_timeout in runner.py, twice)
- gunicorn kills a worker that has not ended: after 23 (GRACE_SECONDS in command.py)
- `serve --embedded` and most platforms kill gunicorn: after 25 to 30
"""
