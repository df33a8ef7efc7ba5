"""Ten times the load that the service can serve: what is still served, and when the others are refused."""

import asyncio
import time
from dataclasses import dataclass, field
from statistics import quantiles

from benchmarks.database import create_database
from benchmarks.ground import Ground
from benchmarks.rounds import Case, Plan, Table, Target, Tick, measure
from benchmarks.services import Service, ours

TIMES = 10
PEAK = 128  # connections

CASES: list[Case] = [(workload, PEAK * times) for workload in ("list", "create", "mixed") for times in (1, TIMES)]

SEARCHER, TASKS = 80_001, 100_000
SEARCH = "/api/tasks?q=nothing%20has%20this"
CLIENTS = 8  # at a time, to find out how many searches can be served
ROUND_SECONDS = 5.0


@dataclass
class Answers:
    """What one way of asking got: seconds until each answer, by its status, and seconds that /health took."""

    taken: dict[int, list[float]] = field(default_factory=dict)
    health: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Successes per second."""
        return len(self.taken.get(200, ())) / self.seconds

    def refused(self) -> list[float]:
        """Seconds until each refusal."""
        return [seconds for status, all_seconds in self.taken.items() if status != 200 for seconds in all_seconds]


@dataclass(frozen=True)
class Overload:
    """What was measured: many connections that ask for little, and many who ask for much."""

    table: Table
    peak: Answers
    beyond: Answers


def measure_overload(ground: Ground, plan: Plan, tick: Tick) -> Overload:
    """Ten times the connections with wrk; then searches, ten times as many a second as can be served."""
    requests = ground.write_requests("requests")
    with ground.run(ours()) as service:
        table = measure([Target(service.name, service, requests)], CASES, plan, tick)
    tick("filling a table for searches")
    create_database(ground.server, "searched", {SEARCHER: TASKS})
    peak, beyond = Answers(), Answers()
    with Ground(ground.folder, ground.server, ground.secret, "searched").run(ours()) as service:
        searching = _Searching(service, ground.token(SEARCHER))
        for number in range(plan.rounds):
            tick(f"searches, round {number + 1}")
            asyncio.run(searching.as_fast_as_answered(peak))
            tick(f"{TIMES} times as many searches, round {number + 1}")
            asyncio.run(searching.at_a_rate(beyond, peak.rate * TIMES))
    return Overload(table, peak, beyond)


def percentile_99(seconds: list[float]) -> float:
    """Milliseconds that 99 % took at most; 0 when there are none."""
    return quantiles(seconds, n=100)[98] * 1000 if len(seconds) > 1 else 0.0


class _Searching:
    def __init__(self, service: Service, token: str) -> None:
        self._port = service.port
        self._search = f"GET {SEARCH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        self._health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        self._connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def as_fast_as_answered(self, answers: Answers) -> None:
        """A few clients who search again as soon as they have an answer."""
        end = time.perf_counter() + ROUND_SECONDS

        async def client() -> None:
            while time.perf_counter() < end:
                await self._ask(answers)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        self._finish(answers)

    async def at_a_rate(self, answers: Answers, rate: float) -> None:
        """So many searches per second, whatever becomes of them; every 50th time somebody asks for /health."""
        began = time.perf_counter()
        tasks: list[asyncio.Task[None]] = []
        while (passed := time.perf_counter() - began) < ROUND_SECONDS:
            while len(tasks) < passed * rate:
                tasks.append(asyncio.create_task(self._ask(answers, health=len(tasks) % 50 == 0)))
            await asyncio.sleep(0.005)
        served_until_now = len(answers.taken.get(200, ()))
        await asyncio.gather(*tasks)
        del answers.taken[200][served_until_now:]  # the queue is served when the load is over: that counts for nothing
        self._finish(answers)

    def _finish(self, answers: Answers) -> None:
        answers.seconds += ROUND_SECONDS
        for _, writer in self._connections:
            writer.transport.abort()
        self._connections.clear()

    async def _ask(self, answers: Answers, *, health: bool = False) -> None:
        connection = self._connections.pop() if self._connections else await self._connect()
        reader, writer = connection
        began = time.perf_counter()
        writer.write(self._health if health else self._search)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r")[0]))
        taken = time.perf_counter() - began
        self._connections.append(connection)
        if health:
            answers.health.append(taken)
        else:
            answers.taken.setdefault(int(head.split()[1]), []).append(taken)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)
