"""The files of the project: the language checker finds each fault, and the files agree with each other."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LANGUAGE = ROOT / ".ci" / "language.py"


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
