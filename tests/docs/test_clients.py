"""docs/clients: the clients are generated without warnings, have strict types, and the example programs run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from tests.support.external_programs import require_node_modules
from tests.support.pages import page
from tests.support.processes import SECRET, environment, served
from todo_service.auth.tokens import sign_token
from todo_service.problems import TYPES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = page("docs/clients/README.md")

# For each language: wrong uses of the client, each with the message of the type checker.
MISTAKES = {
    "python": {
        'print(refusal(list_tasks.sync_detailed(client=connect("no token"))).sentence)': '"Problem" has no attribute',
        'print(list_changes.sync_detailed(client=connect("no token")).parsed.tasks)': 'Item "Problem" of "Changes |',
        'print(result(list_changes.sync_detailed(client=connect("no token"))).task)': '"Changes" has no attribute',
        'print(NewTask("Buy milk", priority="urgent"))': "incompatible type \"Literal['urgent']\"",
    },
    "typescript": {
        'console.log((await connect("no token").GET("/api/tasks")).error?.sentence);': "'sentence' does not exist",
        'console.log((await connect("no token").GET("/api/tasks/changes")).data.tasks);': "is possibly 'undefined'",
        'console.log(result(await connect("").GET("/api/tasks/changes")).task);': "Property 'task' does not exist",
        'connect("").POST("/api/tasks", { body: { title: "Buy milk", priority: "urgent" } });': '"urgent"\' is not',
    },
}

OUTPUT = """\
created: buy milk, priority high
sent twice, created once: true
of high priority: buy milk
a page: buy milk, call bob
a page: water the plants
nothing new: 304
changed: buy oat milk, due never
changed with the present tag: two bottles
completed: true
in the copy: call bob, water the plants, buy oat milk
exported: 3 lines
deleted: 204
still in the copy: call bob, water the plants
    title: must not be blank.
deleted everything: 204
tasks in the copy: 0
"""

# A generated client sends existing methods and paths with valid JSON, and can't make the service fail.
UNREACHABLE_PROBLEMS = {
    *("malformed-request", "malformed-json", "route-not-found", "request-timeout"),
    *("method-not-allowed", "method-not-implemented"),
    *("internal-error", "unavailable", "outcome-unknown"),
}


@dataclass(frozen=True)
class Example:
    """A copy of one of the examples, where the commands of its README are run."""

    language: str
    folder: Path
    results: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    """The results of generating the client and of checking the types."""

    def run(self, verb: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs the command of README for this verb: generate, check or start."""
        [block] = [block for block in README.blocks("sh") if block.startswith(f"cd docs/clients/{self.language}\n")]
        commands = re.split(r"^(?:pip|npm) install.*\n", block, flags=re.MULTILINE)[1].splitlines()
        command = dict(zip(("generate", "check", "start"), commands, strict=True))[verb]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            shlex.split(command),
            cwd=self.folder,
            env=environment(PATH=path, NPM_CONFIG_UPDATE_NOTIFIER="false", **variables),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.xdist_group(f"clients-{name}")]) for name in MISTAKES
    ],
)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A copy in which the client has been generated and the types have been checked."""
    example = Example(request.param, tmp_path_factory.mktemp("docs") / "clients" / request.param)
    ignored = shutil.ignore_patterns(".venv", "node_modules", "build", "todo[-_]service*", ".mypy_cache")
    shutil.copytree(DOCS / "clients" / example.language, example.folder, ignore=ignored)
    shutil.copy(DOCS / "openapi.json", example.folder.parent.parent)
    if example.language == "typescript":
        (example.folder / "node_modules").symlink_to(require_node_modules())
    for verb in ("generate", "check"):
        example.results[verb] = example.run(verb)
    return example


@pytest.fixture(scope="module")
def service_url(service_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("service") / "log", DATABASE_URL=service_database_url) as (_, url):
        yield url


@pytest.fixture
def token() -> str:
    return sign_token(SECRET, f"user-{uuid4()}", days=1)


def test_the_client_is_generated_without_warnings(example: Example) -> None:
    generated = example.results["generate"]
    assert generated.returncode == 0, generated.stdout + generated.stderr
    assert generated.stderr == ""
    assert not re.search("warn|skip|omit|cannot|unsupported", generated.stdout, re.IGNORECASE), generated.stdout


def test_the_client_and_the_example_pass_the_strict_type_check(example: Example) -> None:
    checked = example.results["check"]
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(("language", "program"), [("python", "day.py"), ("typescript", "day.ts")])
def test_readme_shows_the_code_of_the_example(language: str, program: str) -> None:
    [code] = README.blocks(language)
    assert code in (DOCS / "clients" / language / program).read_text()


def test_the_example_requires_the_tested_versions_of_packages() -> None:
    required = json.loads((DOCS / "clients" / "typescript" / "package.json").read_text())
    tested = json.loads((ROOT / "tests" / "package.json").read_text())["devDependencies"]
    for name, versions in (required["dependencies"] | required["devDependencies"]).items():
        major, minor, _ = tested[name].split(".")
        assert versions == f"^{major}.{minor}.0"


def test_the_type_check_finds_wrong_uses_of_the_client(example: Example) -> None:
    (day,) = example.folder.glob("day.*")
    right = day.read_text()
    try:
        day.write_text(right + "\n".join(MISTAKES[example.language]))
        checked = example.run("check")
    finally:
        day.write_text(right)
    assert checked.returncode != 0
    complaints = re.findall(r"^day\.\w+[:(](\d+)\b(.*)$", checked.stdout, re.MULTILINE)
    first = right.count("\n") + 1
    for number, expected in enumerate(MISTAKES[example.language].values(), first):
        assert any(int(line) == number and expected in text for line, text in complaints), checked.stdout
    assert all(int(line) >= first for line, _ in complaints)


@pytest.mark.database
def test_the_example_runs_and_shows_every_problem_that_a_client_can_cause(
    example: Example, service_url: str, token: str
) -> None:
    ran = example.run("start", TODO_URL=service_url, TODO_TOKEN=token)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    lines = [line.lower() for line in ran.stdout.splitlines() if not line.startswith(">")]  # npm writes these
    refusals = [found for line in lines if (found := re.fullmatch(r"  ([0-9]{3}) ([a-z-]+): .+\.", line))]
    assert {(found[2], int(found[1])) for found in refusals} == {
        (name, kind.status) for name, kind in TYPES.items() if name not in UNREACHABLE_PROBLEMS
    }
    assert [line for line in lines if line and line not in {found[0] for found in refusals}] == OUTPUT.splitlines()


@pytest.mark.database
def test_the_example_refuses_to_run_for_a_user_with_tasks(example: Example, service_url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urlopen(Request(f"{service_url}/api/tasks", b'{"title": "Keep me"}', headers)) as response:
        kept = json.load(response)
    ran = example.run("start", TODO_URL=service_url, TODO_TOKEN=token)
    assert ran.returncode == 1
    assert "This user has tasks already" in ran.stderr
    with urlopen(Request(f"{service_url}/api/tasks", headers=headers)) as response:
        assert json.load(response) == [kept]
