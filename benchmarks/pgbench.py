"""pgbench: sends this service's statements to PostgreSQL without a service. This shows the limit of PostgreSQL."""

import os
import re
import subprocess
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.load import BODIES, READERS, WRITERS, Load, task_id
from todo_service.database import read_statement

CLIENTS = 16
PGBENCH = f"pgbench, {CLIENTS} clients"
THREADS = 2  # with one thread, pgbench itself would limit the gets
GETS = 100  # each script for `get_task` has the id of one task, because pgbench only computes with numbers


def write_scripts(folder: Path) -> dict[str, list[str]]:
    """Writes a script for each workload that consists of one statement. Returns the arguments of pgbench."""
    reader, writer = (rf"\set user random({users[0]}, {users[-1]})" for users in (READERS, WRITERS))
    gets = []
    for user in READERS[:GETS]:
        variables = {f"user{user}": str(user), f"id{user}": str(task_id(user, 1))}
        gets += _write_script(folder / f"get{user}", "get_task", variables)
    return {
        "list": _write_script(folder / "list", "list_tasks", {"size": "1000", "tags": "{}"}, reader),
        "get": gets,
        "create": _write_script(folder / "create", "create_task", BODIES[0], writer),
    }


def to_script(statement: str, variables: list[str]) -> str:
    """The statement with pgbench's variables, which are sent as parameters. Parameters without a variable are NULL."""
    names = {f"${number}": f":{name}" for number, name in enumerate(variables, 1)}
    code = re.sub("--.*\n", "", statement)
    code = re.sub(":(MI|SS)", r".\1", code)  # in a time's format, pgbench would read :MI and :SS as variables
    return re.sub(r"\$\d+", lambda match: names.get(match[0], "NULL"), code)


def _write_script(path: Path, statement: str, variables: dict[str, str], draw_user: str = "") -> list[str]:
    names = [*(["user"] if draw_user else []), *variables]
    path.write_text(f"{draw_user}\n{to_script(read_statement(f'tasks/{statement}').text, names)}")
    return [f"--file={path}", *(f"--define={name}={value}" for name, value in variables.items())]


def run_pgbench(arguments: list[str], url: str, seconds: int) -> Load:
    """Sends prepared statements from 16 clients. Raises BenchmarkError if that fails."""
    command = ["pgbench", "--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}", f"--jobs={THREADS}"]
    command += [f"--time={seconds}", *arguments, url]
    environment = {**os.environ, "PGOPTIONS": "-c plan_cache_mode=force_generic_plan"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"actually processed: (\d+).*^tps = ([\d.]+)", result.stdout, re.MULTILINE | re.DOTALL)
    if result.returncode or not found:
        raise BenchmarkError(f"pgbench failed: {result.stderr.strip()[-1000:] or result.stdout.strip()[-1000:]}")
    return Load(int(found[1]), seconds=int(found[1]) / float(found[2]))
