"""The check that all services send the same responses. It runs before the measurement."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from benchmarks import BenchmarkError
from benchmarks.load import BODIES, READERS, WRITERS, token
from benchmarks.services import RunningService

ASKED = (READERS[0], READERS[len(READERS) // 2], READERS[-1])
TIMES = ("due_date", "created_at", "updated_at")
GENERATED = ("id", "created_at", "updated_at", "revision")  # they differ between services


def check_equality(services: Sequence[RunningService], secret: str) -> None:
    """Raises BenchmarkError if a service answers lists, gets or creations differently from the first one."""
    expected = _ask_all(services[0], secret)
    for service in services[1:]:
        for question, answer in _ask_all(service, secret).items():
            if answer != expected.get(question):
                responses = f"{str(answer)[:500]} rather than {str(expected.get(question))[:500]}"
                raise BenchmarkError(
                    f"{service.name} answers {question} differently from {services[0].name}: {responses}"
                )


def _ask_all(service: RunningService, secret: str) -> dict[str, tuple[int, Any]]:
    """Returns status and JSON of each response, by the name of the request."""
    answers: dict[str, tuple[int, Any]] = {}
    for user in ASKED:
        status, tasks = service.ask("GET", "/api/tasks", token(secret, user))
        answers[f"the list of user {user}"] = status, [_parse_times(task) for task in tasks or ()]
        path = f"/api/tasks/{tasks[0]['id'] if tasks else ''}"
        status, task = service.ask("GET", path, token(secret, user))
        answers[f"the first task of user {user}"] = status, _parse_times(task or {})
    for writer, body in zip(WRITERS, BODIES, strict=False):
        status, task = service.ask("POST", "/api/tasks", token(secret, writer), json.dumps(body))
        given = {name: value for name, value in _parse_times(task or {}).items() if name not in GENERATED}
        answers[f"the creation of {body['title']!r}"] = status, (given, sorted(task or {}))
    for invalid in ({"title": " "}, {"title": "a", "priority": "b"}, {}):
        status, _ = service.ask("POST", "/api/tasks", token(secret, WRITERS[0]), json.dumps(invalid))
        answers[f"the creation of {invalid}"] = 400 if status == 422 else status, None  # FastAPI answers 422
    return answers


def _parse_times(task: dict[str, Any]) -> dict[str, Any]:
    """Parses times, because services format the same time differently."""
    return {name: datetime.fromisoformat(value) if name in TIMES and value else value for name, value in task.items()}
