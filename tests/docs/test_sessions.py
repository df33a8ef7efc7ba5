"""The sessions in README.md and docs/api.md: each command gets the response that the page shows."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.embedded_service import serving
from tests.support.external_programs import require
from tests.support.pages import Page, page
from tests.support.processes import COMMAND, SECRET, environment, free_port, served

ADDRESS = "http://127.0.0.1:8080"
# A UUID, or a revision that was made from a time.
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<!\d)[0-9]{16}(?!\d)")
LEFT_OUT = "..."


class Session:
    """Compares shown responses with real ones. It learns which real id or revision belongs to each shown one."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def real(self, command: str) -> str:
        """The command with the real ids instead of the shown ones."""
        return ID.sub(lambda match: self._ids.get(match[0], match[0]), command)

    def assert_matches(self, shown: str, response: str) -> None:
        """Checks that the response has the shown headers and members. `...` stands for omitted members or text."""
        head, body = _parts(shown)
        real_head, real_body = _parts(response)
        for line in head.splitlines():
            assert any(self._is_like(line, real) for real in real_head.splitlines()), f"{line}\n{response}"
        if body:
            self._compare(_shortened(body), json.loads(real_body))
        else:
            assert real_body == ""

    def _compare(self, shown: Any, real: Any) -> None:
        if isinstance(shown, dict):
            assert shown.keys() - {LEFT_OUT} <= real.keys()
            assert LEFT_OUT in shown or shown.keys() == real.keys()
            for name in shown.keys() - {LEFT_OUT}:
                self._compare(shown[name], real[name])
        elif isinstance(shown, list):
            for one, other in zip(shown, real, strict=True):
                self._compare(one, other)
        else:
            assert self._is_like(json.dumps(shown), json.dumps(real)), f"{shown} is {real}"

    def _is_like(self, shown: str, real: str) -> bool:
        """Whether the texts are equal, except for case, new ids, the reason phrase, and text that is left out."""
        shown = re.sub(r"^(HTTP/1.1 \d+).*", r"\1...", shown)
        new = [each for each in ID.findall(shown) if each not in self._ids]
        pattern = re.escape(self.real(shown)).replace(re.escape(LEFT_OUT), ".*")
        for each in new:
            pattern = pattern.replace(re.escape(each), f"({ID.pattern})", 1)
        match = re.fullmatch(pattern, real, re.IGNORECASE)
        if match:
            self._ids.update(zip(new, match.groups(), strict=True))
        return match is not None


def _parts(text: str) -> tuple[str, str]:
    """The head and the body of a response; the head is empty if curl doesn't show it."""
    head, _, body = text.partition("\n\n") if text.startswith("HTTP/") else ("", "", text)
    return head, body.strip()


def _shortened(body: str) -> Any:
    return json.loads(re.sub(r",\s*\.\.\.\s*}", f', "{LEFT_OUT}": 0}}', body))


def commands(of: Page) -> Iterator[tuple[str, str]]:
    """The commands of all sessions of a page, each with its output."""
    for block in of.blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", "").partition("\n")
            yield command, output.strip()


@pytest.mark.slow
def test_make_run_prints_the_shown_lines(tmp_path: Path) -> None:
    """make run installs the packages, and then starts `todo-service serve --embedded`."""
    shown = dict(commands(page("README.md")))["make run"].splitlines()
    port = free_port()
    with serving(tmp_path, port) as service:
        printed = service.wait_until_ready().output().replace(f":{port}", ":8080").splitlines()
    assert set(shown) <= {*printed, LEFT_OUT}


@pytest.mark.slow
@pytest.mark.database
@pytest.mark.parametrize(("name", "checked"), [("README.md", 3), ("docs/api.md", 17)])
def test_the_commands_get_the_shown_responses(
    name: str, checked: int, service_database_url: str, tmp_path: Path
) -> None:
    require("curl")
    (tmp_path / ".todo-service").mkdir()
    (tmp_path / ".todo-service" / "secret").write_text(SECRET)
    session, variables, ran = Session(), "", 0
    with served(tmp_path / "log", DATABASE_URL=service_database_url) as (_, url):
        for command, shown in commands(page(name)):
            line = session.real(command.replace(".venv/bin/todo-service", COMMAND).replace(ADDRESS, url))
            if re.match(r"\w+=", line):
                variables += f"{line}\n"
            elif line.startswith("curl "):
                script = (variables + line).replace("curl ", "curl --silent --show-error ")
                done = subprocess.run(
                    ["bash", "-ec", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
                )
                session.assert_matches(shown, done.stdout.replace("\r", "").replace(url, ADDRESS).strip())
                ran += 1
    assert ran == checked
