"""Benchmarks: compare this service with the same API in Go, Node and FastAPI, and with PostgreSQL alone.

`make bench` runs them. The modules, in the order of a run:

    __main__.py         the command line
    comparison.py       a run: starts everything, compares the answers, measures in interleaved rounds
    database.py         PostgreSQL, with the same tasks for all services
    services.py         starts services and sends them requests; has this service and other checkouts of it
    plain_pool.py       this service with a plain pool of connections instead of batches
    peers.py, peers/    the same API in Go, Node and FastAPI
    load.py, load.lua   the workloads, and wrk, which sends them
    pgbench.py          sends this service's statements to PostgreSQL
    equality.py         the check that all services give the same answers
    processor_time.py   the processor time of a service and of PostgreSQL
    results.py          the runs, their medians and ratios
    report.py           the sections of docs/performance.md between markers
    chart.py            docs/performance.svg
"""


class BenchmarkError(Exception):
    """The comparison can't run, or a measurement is invalid. The message is for the terminal."""
