"""The check that all competitors give the same answers, before anything is measured."""

import json
from datetime import datetime
from typing import Any

from benchmarks.database import READERS, WRITERS
from benchmarks.ground import BODIES, Ground
from benchmarks.load import LoadError
from benchmarks.services import Service

ASKED = (READERS[0], READERS[len(READERS) // 2], READERS[-1])
TIMES = ("due_date", "created_at", "updated_at")
OWN = ("id", "created_at", "updated_at", "revision")
"""What the server chooses when a task is created, and so differs."""


def check_equality(ground: Ground, services: list[Service]) -> None:
    """Raises LoadError, which names what differs, unless all answer lists, gets and creations as the first one does."""
    expected = answers(ground, services[0])
    for service in services[1:]:
        found = answers(ground, service)
        for question, answer in expected.items():
            if found.get(question) != answer:
                raise LoadError(
                    f"{service.name} answers {question} differently from {services[0].name}: "
                    f"{str(found.get(question))[:500]} rather than {str(answer)[:500]}"
                )


def answers(ground: Ground, service: Service) -> dict[str, tuple[int, Any]]:
    """What a service says to each question: the status and the JSON, with moments instead of their texts."""
    found: dict[str, tuple[int, Any]] = {}
    for user in ASKED:
        status, tasks = service.ask("GET", "/api/tasks", ground.token(user))
        found[f"the list of user {user}"] = status, [_moments(task) for task in tasks or ()]
        for task in (tasks or ())[:1]:
            status, answer = service.ask("GET", f"/api/tasks/{task['id']}", ground.token(user))
            found[f"a task of user {user}"] = status, _moments(answer or {})
    for writer, body in zip(WRITERS, BODIES, strict=False):
        status, answer = service.ask("POST", "/api/tasks", ground.token(writer), json.dumps(body))
        given = {name: value for name, value in _moments(answer or {}).items() if name not in OWN}
        found[f"the creation of {body['title']!r}"] = status, (given, sorted(answer or {}))
    for wrong in ({"title": " "}, {"title": "a", "priority": "b"}, {}):
        status, _ = service.ask("POST", "/api/tasks", ground.token(WRITERS[0]), json.dumps(wrong))
        found[f"the creation of {wrong}"] = min(status, 400), None  # FastAPI says 422
    return found


def _moments(task: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if name in TIMES and value is not None else value
        for name, value in task.items()
    }
