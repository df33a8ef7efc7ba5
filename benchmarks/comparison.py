"""A run: starts PostgreSQL and the services, compares their answers, and measures them in interleaved rounds."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.database import clear, create_database, execute, run_database
from benchmarks.equality import check_equality
from benchmarks.load import WORKLOADS, Load, run_wrk, write_requests
from benchmarks.peers import TOOLS, find_peers
from benchmarks.pgbench import PGBENCH, run_pgbench, write_scripts
from benchmarks.processor_time import processor_seconds
from benchmarks.results import Results, Run, to_run
from benchmarks.services import RunningService, Service, checkout, ours, plain_pool, run_service
from todo_service.database.statements import SQL
from todo_service.embedded.postgres import Postgres

_print_step = partial(print, file=sys.stderr, flush=True)


@dataclass
class Options:
    """The options of the command line, with their defaults."""

    rounds: int = 3
    seconds: int = 5
    processes: list[int] = field(default_factory=lambda: sorted({1, os.cpu_count() or 1}))
    workload: list[str] = field(default_factory=lambda: [*WORKLOADS])
    connections: list[int] = field(default_factory=lambda: [32, 128])
    only: list[str] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    binaries: Path | None = None
    write: bool = False

    def chooses(self, name: str) -> bool:
        """Whether to measure a service, or pgbench."""
        return not self.only or any(word.lower() in name.lower() for word in self.only)


def compare(options: Options) -> list[Results]:
    """Measures all services for each number of processes. Raises BenchmarkError or EmbeddedError."""
    if not shutil.which("wrk"):
        raise BenchmarkError("wrk is needed to send the requests: on Debian, `apt install wrk`.")
    installed = {peer.name for peer in find_peers(1)}
    missing = {name: f"`make bench` installs it with {TOOLS[name]}" for name in TOOLS if name not in installed}
    if not shutil.which("pgbench"):
        missing[PGBENCH] = "on Debian, `apt install postgresql` installs it"
    for name, advice in missing.items():
        _print_step(f"{name} is not measured: {advice}")
    if missing and options.write:
        raise BenchmarkError("--write needs all services, because it replaces the figures of all of them.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="todo-benchmark-")))
        services = {processes: _choose_services(processes, options) for processes in options.processes}
        _print_step("starting PostgreSQL")
        postgres = stack.enter_context(run_database(folder / "data", options.binaries))
        comparison = Comparison(options, folder, postgres)
        return [comparison.measure(processes, chosen) for processes, chosen in services.items()]


def _choose_services(processes: int, options: Options) -> list[Service]:
    environment = dict(pair.partition("=")[::2] for pair in options.env)
    this = ours(processes, environment)
    all_services = (this, plain_pool(processes, environment), *find_peers(processes))
    services = [service for service in all_services if options.chooses(service.name)]
    services += [checkout(this, folder.resolve()) for folder in options.beside]
    if not services:
        raise BenchmarkError("No service has one of these words in its name.")
    return services


class Comparison:
    """Measures all services on one PostgreSQL, with the same requests."""

    def __init__(self, options: Options, folder: Path, postgres: Postgres) -> None:
        self._options, self._postgres = options, postgres
        self._version = execute(postgres.url)
        self._secret = secrets.token_urlsafe(48)
        self._requests = folder / "requests"
        write_requests(self._requests, self._secret)
        self._pgbench = write_scripts(folder) if options.chooses(PGBENCH) and shutil.which("pgbench") else {}
        # A checkout has a database of its own, because its migrations may differ.
        self._urls = {
            folder: create_database(postgres, f"benchmark{number}", (folder / "sql" if folder else SQL) / "migrations")
            for number, folder in enumerate([None, *(folder.resolve() for folder in options.beside)])
        }

    def measure(self, processes: int, services: Sequence[Service]) -> Results:
        """Starts the services and measures them in all rounds. Raises BenchmarkError."""
        cases = [(workload, each) for workload in self._options.workload for each in self._options.connections]
        results = Results(processes, cases, services, self._version)
        with ExitStack() as stack:
            _print_step("starting the services, and comparing their answers")
            running = []
            for service in services:
                url = self._urls.get(service.folder, self._urls[None])
                running.append(stack.enter_context(run_service(service, url, self._secret)))
            check_equality(running, self._secret)
            for each in running:
                _print_step(f"warming up {each.name}")  # Go and Node need this warm-up
                run_wrk(each.address, self._requests, "mixed", 32, seconds=1)
            for number in range(self._options.rounds):
                first = number % len(running)  # each round begins with another service
                self._measure_round(f"round {number + 1}", results, [*running[first:], *running[:first]])
        return results

    def _measure_round(self, name: str, results: Results, running: Sequence[RunningService]) -> None:
        seconds = self._options.seconds
        for url in self._urls.values():
            clear(url)
        for workload, connections in results.cases:
            for service in running:
                _print_step(f"{name}: {workload}, {connections} connections, {service.name}")
                send = partial(run_wrk, service.address, self._requests, workload, connections, seconds)
                results.add(service.name, (workload, connections), self._measure_run(send, service.process.pid))
                results.memory[service.name] = max(results.memory.get(service.name, 0.0), service.memory())
        for workload in (each for each in self._pgbench if each in self._options.workload):
            _print_step(f"{name}: {workload}, {PGBENCH}")
            run = self._measure_run(partial(run_pgbench, self._pgbench[workload], self._urls[None], seconds))
            for connections in self._options.connections:  # pgbench has its own number of clients
                results.add(PGBENCH, (workload, connections), run)

    def _measure_run(self, send: Callable[[], Load], service_pid: int | None = None) -> Run:
        """Sends requests. Measures the processor time of the service, if there is one, and of PostgreSQL."""
        pids = [pid for pid in (self._postgres.process.pid, service_pid) if pid is not None]
        before = [processor_seconds(pid) for pid in pids]
        load = send()
        postgres, *service = (processor_seconds(pid) - start for pid, start in zip(pids, before, strict=True))
        return to_run(load, sum(service), postgres)
