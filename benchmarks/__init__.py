"""Benchmarks: this service beside the same API in Go, Node and FastAPI, and beside PostgreSQL alone.

`make bench` runs them. The modules, in the order of a run:

    __main__.py         the command line
    comparison.py       a run: starts everything, compares the answers, measures in interleaved rounds
    database.py         PostgreSQL, with the same tasks for all services
    services.py         starts a service and asks it; this service, and other checkouts of it
    plain_pool.py       this service with a plain pool of connections instead of batches
    peers.py, peers/    the same API in Go, Node and FastAPI
    load.py, load.lua   the workloads, and wrk, which sends them
    pgbench.py          sends this service's statements to PostgreSQL
    equality.py         the check that all services give the same answers
    processor_time.py   the processor time of a service and of PostgreSQL
    results.py          the runs, their medians and ratios
    report.py           the section of docs/performance.md
    chart.py            the chart in it
"""


class BenchmarkError(Exception):
    """The benchmark can't be run, or a measurement is invalid. The message is a sentence for the terminal."""
