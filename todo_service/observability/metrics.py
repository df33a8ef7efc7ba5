"""Metrics for Prometheus. Each process counts in plain numbers, and adds them to those of all processes now and then.

prometheus-client keeps those of several processes in files. To write there for each request would take 4 us.
"""

import hmac
import logging
import os
from bisect import bisect_left
from dataclasses import dataclass, field

from aiohttp import hdrs, web
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from todo_service.database import Database
from todo_service.problems import Problem
from todo_service.settings import Settings

PATH = "/metrics"
METHODS = frozenset(hdrs.METH_ALL)
UNKNOWN = "unknown"  # rather than what strangers make up, without end
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BUCKETS = len(DURATIONS) + 1  # the last has no bound
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


class TalliedHistogram(Histogram):
    """A histogram that takes many observations at once, which prometheus-client has no way to do."""

    def add(self, counts: list[int], total: float) -> None:
        """Adds so many observations to each bucket, the last one without a bound; `total` is the sum of them all."""
        for bucket, number in zip(self._buckets, counts, strict=True):
            if number:
                bucket.inc(number)
        self._sum.inc(total)


REQUESTS = TalliedHistogram(
    "todo_service_request_duration_seconds",
    "How long requests took, until their answers were ready to be sent.",
    ["method", "route", "status"],
    buckets=DURATIONS,
)
BATCHES = TalliedHistogram(
    "todo_service_database_batch_size", "How many requests shared a round trip to the database.", buckets=SIZES
)
REFUSED = Counter(
    "todo_service_requests_refused",
    "Requests that the database could not serve: overload, unavailable, outcome-unknown.",
    ["reason"],
)
CONNECTIONS = Gauge(
    "todo_service_database_connections",
    "Connections to the database by what they do: busy or idle.",
    ["state"],
    multiprocess_mode="livesum",
)
WAITING = Gauge(
    "todo_service_database_waiting_calls",
    "Requests that wait for their turn at the database.",
    multiprocess_mode="livesum",
)


@dataclass(slots=True)
class Kind:
    """Requests of one method, route and status: how their lines in the log begin, and what is not yet added up."""

    histogram: TalliedHistogram
    level: int
    text: str
    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    seconds: float = 0.0


Key = tuple[str, web.AbstractResource | None, int]
"""Method, resource and status."""

Seen = tuple[Kind, float, float, str, str | None]
"""A request: its kind, begin and end (seconds of the clock for durations), its id, and its user's."""


class Metrics:
    """What this process has counted and not yet added to the numbers of all."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.metrics_token
        self.has_others = bool(os.environ.get(DIRECTORY))
        self.kinds: dict[Key, Kind] = {}

    def count(self, seen: list[Seen]) -> None:
        """Counts requests, for `add`."""
        for kind, began, ended, _, _ in seen:
            seconds = ended - began
            kind.counts[bisect_left(DURATIONS, seconds)] += 1
            kind.seconds += seconds

    def new_kind(self, key: Key) -> Kind:
        """The kind of a request that is none of `kinds` yet, or has a method that strangers make up."""
        method, resource, status = key
        method = method if method in METHODS else UNKNOWN
        key = method, resource, status
        if key not in self.kinds:
            route = resource.canonical if resource else UNKNOWN
            level = logging.INFO if status < 500 else logging.WARNING if status == 503 else logging.ERROR
            text = f"level={logging.getLevelName(level).lower()} method={method} route={route} status={status}"
            self.kinds[key] = Kind(REQUESTS.labels(method, route, str(status)), level, text)
        return self.kinds[key]

    def check_token(self, request: web.Request) -> None:
        """Raises Problem when there is a METRICS_TOKEN and the request doesn't have it."""
        scheme, _, given = ", ".join(request.headers.getall(hdrs.AUTHORIZATION, ())).partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(errors="replace"), self._token.encode())
        if self._token and not (scheme.lower() == "bearer" and is_right):
            detail = "The metrics need the token METRICS_TOKEN, in the header `Authorization: Bearer <token>`."
            raise Problem("unauthorized", detail, headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="metrics"'})

    def response(self) -> web.Response:
        """The numbers of all processes, as Prometheus reads them."""
        registry: CollectorRegistry = REGISTRY
        if self.has_others:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return web.Response(body=generate_latest(registry), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})

    def add(self, database: Database) -> None:
        """Adds what was counted, here and by the database, to the numbers of all processes."""
        for kind in self.kinds.values():
            if any(kind.counts):
                kind.histogram.add(kind.counts, kind.seconds)
                kind.counts, kind.seconds = [0] * BUCKETS, 0.0
        numbers = database.numbers
        for reason, number in numbers.refused.items():
            REFUSED.labels(reason).inc(number)
        numbers.refused.clear()
        sizes = [0] * (len(SIZES) + 1)
        for size, number in numbers.batches.items():
            sizes[bisect_left(SIZES, size)] += number
        BATCHES.add(sizes, sum(size * number for size, number in numbers.batches.items()))
        numbers.batches.clear()
        CONNECTIONS.labels("busy").set(database.busy)
        CONNECTIONS.labels("idle").set(database.idle)
        WAITING.set(database.waiting)
