"""The limit: what PostgreSQL does with the same statements when pgbench sends them, and nothing is around them."""

import os
import re
import subprocess
from statistics import median

from benchmarks.database import READERS, WRITERS, fetch
from benchmarks.ground import BODIES, Ground
from benchmarks.load import LoadError
from benchmarks.rounds import Tick
from todo_service.database.statements import SQL

CLIENTS = 16
JOBS = 2  # threads: with one, pgbench itself would be the limit of gets
GETS = 100
"""Scripts for `get_task`: pgbench knows numbers only, so each has one task's id as a text. It takes 128 at most."""

READER = rf"\set user random({READERS[0]}, {READERS[-1]})"
WRITER = rf"\set user random({WRITERS[0]}, {WRITERS[-1]})"


class Limit:
    """The transactions per second that pgbench reaches with the statement of each endpoint, in every round."""

    def __init__(self, ground: Ground) -> None:
        self.runs: dict[str, list[float]] = {"list": [], "get": [], "create": []}
        self._url = ground.url
        self._arguments = {
            "list": [
                *_script(ground, "list_tasks", ("user", "size", "tags"), READER),
                *_define(size="1000", tags="{}"),
            ],
            "get": _gets(ground),
            "create": [*_script(ground, "create_task", ("user", *BODIES[0]), WRITER), *_define(**BODIES[0])],
        }

    def measure(self, seconds: int, tick: Tick) -> None:
        """One round of lists, gets and creations, prepared and with real parameters. Raises LoadError."""
        for workload, runs in self.runs.items():
            tick(f"pgbench: {workload}, {CLIENTS} clients, round {len(runs) + 1}")
            runs.append(_run(self._arguments[workload], seconds, self._url))

    def rate(self, workload: str) -> float:
        """Transactions per second: the median of the rounds."""
        return median(self.runs[workload])


def to_script(statement: str, variables: tuple[str, ...]) -> str:
    """A statement as pgbench takes it: parameters are variables there, which it sends as parameters.

    Parameters without a variable are NULL.
    """
    names = {f"${number}": f":{name}" for number, name in enumerate(variables, 1)}
    code = re.sub("--.*\n", "", statement)
    code = re.sub(":(MI|SS)", r".\1", code)  # of a time's format: it would be a variable, and nothing escapes it
    return re.sub(r"\$\d+", lambda match: names.get(match[0], "NULL"), code)


def _gets(ground: Ground) -> list[str]:
    arguments = []
    query = "SELECT DISTINCT ON (user_id) user_id, id FROM tasks WHERE user_id = ANY($1)"
    for number, row in enumerate(fetch(ground.url, query, [str(user) for user in READERS[:GETS]])):
        values = {f"user{number}": row["user_id"], f"id{number}": str(row["id"])}
        arguments += [*_script(ground, "get_task", tuple(values), suffix=str(number)), *_define(**values)]
    return arguments


def _script(ground: Ground, name: str, variables: tuple[str, ...], line: str = "", suffix: str = "") -> list[str]:
    statement = (SQL / f"tasks/{name}.sql").read_text(encoding="utf-8")
    path = ground.folder / f"{name}{suffix}.pgbench"
    path.write_text(f"{line}\n{to_script(statement, variables)}")
    return [f"--file={path}"]


def _define(**values: str) -> list[str]:
    return [f"--define={name}={value}" for name, value in values.items()]


def _run(arguments: list[str], seconds: int, url: str) -> float:
    command = ["pgbench", "--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}", f"--jobs={JOBS}"]
    command += [f"--time={seconds}", *arguments, url]
    environment = {**os.environ, "PGOPTIONS": "-c plan_cache_mode=force_generic_plan"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    rate = re.search(r"^tps = ([\d.]+)", answer.stdout, re.MULTILINE)
    if answer.returncode or rate is None:
        raise LoadError(f"pgbench failed: {answer.stderr.strip()[-1000:] or answer.stdout.strip()[-1000:]}")
    return float(rate[1])
