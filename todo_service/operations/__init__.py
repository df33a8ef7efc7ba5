"""What operators see: a line in the log for each request, /metrics for Prometheus, and the id of each request.

Nothing else depends on this package: without the lines that name it, in app.py, runner.py and server.py, the service is
the same.
"""
