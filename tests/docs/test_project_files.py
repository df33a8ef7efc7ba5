"""The files of the project: the language checker finds each fault, and the files agree with each other."""

import json
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.support.pages import MAKE_TARGETS
from todo_service import __version__

ROOT = Path(__file__).parents[2]
LANGUAGE = ROOT / ".ci" / "language.py"
MAKEFILE, CONTRIBUTING, CHANGELOG = (
    (ROOT / name).read_text() for name in ("Makefile", "CONTRIBUTING.md", "CHANGELOG.md")
)
EDITORCONFIG, HOOKS = (ROOT / ".editorconfig").read_text(), (ROOT / ".pre-commit-config.yaml").read_text()
WORKFLOWS = {path.name: path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")}
SETUP = ConfigParser(interpolation=None)
SETUP.read(ROOT / "setup.cfg")


def check_language(*files: Path) -> tuple[int, str]:
    """The exit status and the output of the language checker for these files."""
    ran = subprocess.run([sys.executable, LANGUAGE, *files], capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


@pytest.mark.parametrize(
    ("sentence", "fault", "right"),
    [
        ("What is wrong is refused.", "begins with", "The service rejects an invalid body."),
        ("Who waits too long gets 503.", "begins with", "A request that waits too long gets 503."),
        ("Whose calls meet one lock: a user's.", "begins with", "Which keys are public?"),
        ("Whoever has the secret can sign.", "indefinite", "A person who has the secret can sign."),
        ("Whatever the status is, log it.", "indefinite", "What does the service log?"),
        ("Nobody reads the file.", "indefinite", "PostgreSQL runs as the account nobody."),
        ("The tag differs if somebody else wrote.", "indefinite", "The tag differs if another client wrote."),
        ("The task was changed meanwhile.", "meanwhile", "The task was changed after the first request."),
        ("The client may as well repeat it.", "may as well", "The client may repeat it."),
        ("While the issuer is away, keys are kept.", "away", "The issuer is unreachable: keys are kept."),
        ("Such a proxy is in the way.", "in the way", "Write it in the way that RFC 9110 shows."),
        ("The old keys go on serving.", "goes on", "The old keys stay in use."),
        (" ".join(["word"] * 36) + ".", "36 words", " ".join(["word"] * 35) + "."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_language_check_finds_each_fault_and_accepts_the_right_form(
    tmp_path: Path, sentence: str, fault: str, right: str
) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"# Heading\n\n{right} {sentence}\n")
    status, output = check_language(file)
    assert status == 1
    assert [line.split(":", 1)[1].startswith(f"3: {fault}") for line in output.splitlines()] == [True], output
    file.write_text(f"# Heading\n\n{right}\n")
    assert check_language(file) == (0, "")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("page.md", "| a | b |\n|---|---|\n| c | Nobody reads\\| it. |\n", 3),
        ("page.md", "1. One\n2. What is left is\n   dropped.\n", 2),
        ("module.py", '"""First line.\n\nWhat is left is dropped.\n"""\n', 3),
        ("module.py", "x = 1  # one\ny = 2  # nobody reads this\n", 2),
        ("module.py", "# A comment\n# that nobody\n# reads.\n", 1),
        ("todo_service/module.py", "\nx = f'{1} tasks that nobody reads'\n", 2),
        ("file.sql", "-- tasks/file\n-- What is left is dropped.\nSELECT 1;\n", 2),
        ("Makefile", "all: ## what is left: dropped.\n\ttrue\n", 1),
        ("file.yml", "a: 1 # that nobody reads\n", 1),
        ("file.toml", "# One.\n# What is left is dropped.\n", 2),
    ],
)
def test_the_language_check_reads_prose_in_each_kind_of_file(tmp_path: Path, name: str, text: str, line: int) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    status, output = check_language(file)
    assert status == 1
    assert [found.split(":")[1] for found in output.splitlines()] == [str(line)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "Run `grep nobody`:\n\n```sh\n# Nobody reads this.\n```\n"),
        ("page.md", "| What it means | What to do |\n|---|---|\n"),
        ("module.py", "x = 'a task that nobody reads'\n"),
        ("file.sql", "SELECT 'nobody reads this';\n"),
        ("data.json", '{"text": "nobody reads this"}'),
    ],
)
def test_the_language_check_skips_code_and_labels(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert check_language(file) == (0, "")


def test_the_language_check_reads_all_files_except_those_that_gitignore_names(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    copy = tmp_path / ".ci" / "language.py"
    copy.write_text(LANGUAGE.read_text())
    (tmp_path / ".gitignore").write_text("build/\ndocs/made.md\n")
    for name in ("README.md", "build/page.md", "docs/page.md", "docs/made.md", ".git/page.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Nobody reads this.\n")
    ran = subprocess.run([sys.executable, copy], capture_output=True, text=True, check=False)
    assert sorted(line.split(":")[0] for line in ran.stdout.splitlines()) == ["README.md", "docs/page.md"]
    assert "2 faults: CONTRIBUTING.md" in ran.stderr


def test_contributing_lists_every_command_of_make() -> None:
    assert set(re.findall(r"^make ([a-z-]+) +# ", CONTRIBUTING, re.MULTILINE)) == MAKE_TARGETS


def test_the_service_uses_no_cookies() -> None:
    for path in (ROOT / "todo_service").rglob("*.py"):
        assert "cookie" not in path.read_text().lower(), path


def test_all_files_state_the_version_of_setup_cfg() -> None:
    version = SETUP["metadata"]["version"]
    assert __version__ == version, "stale: run make again"
    assert json.loads((ROOT / "docs" / "openapi.json").read_text())["info"]["version"] == version
    released = re.findall(r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", CHANGELOG, re.MULTILINE)
    assert released[:1] in ([], [version]), "the newest release comes first"


def test_ci_runs_the_python_versions_that_the_package_declares() -> None:
    declared = re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])
    [matrix] = re.findall(r"python: \[(.*)\]", WORKFLOWS["ci.yml"])
    assert re.findall(r'"([\d.]+)"', matrix) == declared
    assert SETUP["options"]["python_requires"] == f">={declared[0]}"
    assert f"Python {declared[0]} to {declared[-1]}" in CONTRIBUTING
    assert (ROOT / ".python-version").read_text().strip() in declared


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_use_actions_by_commit_with_a_comment_that_has_the_version(name: str) -> None:
    for action in re.findall(r"uses: (.*)", WORKFLOWS[name]):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_dependabot_watches_folders_that_have_packages() -> None:
    text = (ROOT / ".github" / "dependabot.yml").read_text()
    manifests = {
        "pip": "requirements.txt",
        "npm": "package.json",
        "docker": "Dockerfile",
        "github-actions": ".github/workflows/ci.yml",
    }
    watched = re.findall(r"package-ecosystem: ([\w-]+).*\n +directory: (\S+)", text)
    for ecosystem, folder in watched:
        assert (ROOT / folder.lstrip("/") / manifests[ecosystem]).exists(), folder
    assert len(watched) == text.count("package-ecosystem")


def test_the_hooks_run_the_commands_of_make_check() -> None:
    [recipe] = re.findall(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    commands = re.findall(r"\$\(BIN\)/(.*)", recipe)
    without_files = [re.sub(r"( --check)?( \.)?$|(?<=lint) sql$", "", command) for command in commands]
    hooks = re.findall(r"entry: \.venv/bin/(.*)", HOOKS)
    assert [hook.removesuffix(" --force-exclude") for hook in hooks] == without_files


def test_editors_and_linters_have_the_same_line_length() -> None:
    assert "max_line_length = 120" in EDITORCONFIG
    assert "line-length = 120" in (ROOT / "pyproject.toml").read_text()
    assert SETUP["sqlfluff"]["max_line_length"] == "120"
