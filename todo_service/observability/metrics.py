"""Metrics for Prometheus. Each process counts in memory, and regularly adds its counts to the shared metrics.

prometheus-client keeps the shared metrics in files. A write to these files for each request would take 4 us.
"""

import hmac
import logging
import os
from bisect import bisect_left
from dataclasses import dataclass, field

from aiohttp import hdrs, web
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from todo_service.database import Database
from todo_service.library_internals import BulkHistogram
from todo_service.problems import Problem
from todo_service.settings import Settings

METHODS = frozenset(hdrs.METH_ALL)
UNKNOWN = "unknown"  # for unknown methods and routes: each label value takes memory
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BUCKETS = len(DURATIONS) + 1  # the last bucket has no upper bound
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


REQUESTS = BulkHistogram(
    "todo_service_request_duration_seconds",
    "Duration of requests in seconds, until the response was ready to be sent.",
    ["method", "route", "status"],
    buckets=DURATIONS,
)
BATCHES = BulkHistogram(
    "todo_service_database_batch_size", "Number of requests that shared a round trip to the database.", buckets=SIZES
)
REFUSED = Counter(
    "todo_service_requests_refused",
    "Requests that the database could not serve: overload, unavailable, outcome-unknown.",
    ["reason"],
)
CONNECTIONS = Gauge(
    "todo_service_database_connections",
    "Connections to the database by state: busy or idle.",
    ["state"],
    multiprocess_mode="livesum",
)
WAITING = Gauge(
    "todo_service_database_waiting_calls",
    "Requests that wait to be sent to the database.",
    multiprocess_mode="livesum",
)


@dataclass(slots=True)
class Series:
    """The requests of one method, route and status. `text` is for log lines. `counts` will be added to `histogram`."""

    histogram: BulkHistogram
    level: int
    text: str
    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    seconds: float = 0.0


Key = tuple[str, web.AbstractResource | None, int]
"""Method, resource and status."""

RequestRecord = tuple[Series, float, float, str, str | None]
"""A request: its series, begin and end (seconds of perf_counter), its id, and its user's id."""


class Metrics:
    """The counts of this process that have not been added to the shared metrics yet."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.metrics_token
        self.is_multiprocess = bool(os.environ.get(DIRECTORY))
        self.series: dict[Key, Series] = {}

    def count(self, records: list[RequestRecord]) -> None:
        """Counts requests in this process only; `add` adds the counts to the metrics."""
        for series, began, ended, _, _ in records:
            seconds = ended - began
            series.counts[bisect_left(DURATIONS, seconds)] += 1
            series.seconds += seconds

    def new_series(self, key: Key) -> Series:
        """Creates the series of a key that is not in `series`. Unknown methods share one series."""
        method, resource, status = key
        method = method if method in METHODS else UNKNOWN
        key = method, resource, status
        if key not in self.series:
            route = resource.canonical if resource else UNKNOWN
            level = logging.INFO if status < 500 else logging.WARNING if status == 503 else logging.ERROR
            text = f"level={logging.getLevelName(level).lower()} method={method} route={route} status={status}"
            self.series[key] = Series(REQUESTS.labels(method, route, str(status)), level, text)
        return self.series[key]

    def check_token(self, request: web.Request) -> None:
        """Raises Problem if METRICS_TOKEN is set and the request does not have it."""
        scheme, _, given = ", ".join(request.headers.getall(hdrs.AUTHORIZATION, ())).partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(errors="replace"), self._token.encode())
        if self._token and not (scheme.lower() == "bearer" and is_right):
            detail = "The metrics need the token METRICS_TOKEN, in the header `Authorization: Bearer <token>`."
            raise Problem("unauthorized", detail, headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="metrics"'})

    def response(self) -> web.Response:
        """The shared metrics in Prometheus' text format."""
        registry: CollectorRegistry = REGISTRY
        if self.is_multiprocess:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return web.Response(body=generate_latest(registry), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})

    def add(self, database: Database) -> None:
        """Adds the counts of this process, and those of its database, to the shared metrics."""
        for series in self.series.values():
            if any(series.counts):
                series.histogram.add(series.counts, series.seconds)
                series.counts, series.seconds = [0] * BUCKETS, 0.0
        counters = database.counters
        for reason, number in counters.failures.items():
            REFUSED.labels(reason).inc(number)
        counters.failures.clear()
        sizes = [0] * (len(SIZES) + 1)
        for size, number in counters.batches.items():
            sizes[bisect_left(SIZES, size)] += number
        BATCHES.add(sizes, sum(size * number for size, number in counters.batches.items()))
        counters.batches.clear()
        CONNECTIONS.labels("busy").set(database.busy_connections)
        CONNECTIONS.labels("idle").set(database.idle_connections)
        WAITING.set(database.waiting_calls)
