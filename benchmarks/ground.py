"""What all measurements stand on: the seeded database, a secret that signs tokens, and the requests to draw from."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.database import READERS, WRITERS, Server, fetch
from benchmarks.load import Request, write_requests
from benchmarks.services import Competitor, Service, run_service
from todo_service.auth.tokens import sign_token

BODIES = (
    {
        "title": "Buy milk",
        "description": "Two bottles, and bread if they have any left",
        "priority": "low",
        "due_date": "2027-01-01T09:00:00.000Z",
    },
    {
        "title": "Write to the landlord",
        "description": "About the heating, and the bill of last winter that nobody understands",
        "priority": "high",
        "due_date": "2027-03-01T12:00:00.500Z",
    },
    {
        "title": "Prepare the talk for the meeting in spring",
        "description": "Twenty minutes, with questions afterwards",
        "priority": "medium",
        "due_date": "2027-01-15T08:30:00.000+01:00",
    },
)
"""What is created. Every member is there, because pgbench has no NULL to send."""


@dataclass(frozen=True)
class Ground:
    """The database and the secret of all services, and a folder for files that don't outlive the benchmark."""

    folder: Path
    server: Server
    secret: str
    database: str = "postgres"

    @property
    def url(self) -> str:
        return self.server.url(self.database)

    def token(self, user: int) -> str:
        return sign_token(self.secret, str(user), days=1)

    @contextmanager
    def run(self, competitor: Competitor, port: int | None = None) -> Iterator[Service]:
        """A service on this database, or on the proxy in front of it that listens on a port."""
        url = self.server.url(self.database, port)
        with run_service(competitor, url, self.secret, self.token(READERS[0])) as service:
            yield service

    def write_requests(self, name: str, readers: Iterable[int] = READERS) -> Path:
        """The requests of the workloads: lists and gets of readers, creations of the writers."""
        users = [str(reader) for reader in readers]
        tokens = {user: self.token(int(user)) for user in users}
        tasks = fetch(self.url, "SELECT user_id, id FROM tasks WHERE user_id = ANY($1)", users)
        bodies = [json.dumps(body) for body in BODIES]
        lists = [Request("list", "/api/tasks", token) for token in tokens.values()]
        gets = [Request("get", f"/api/tasks/{task['id']}", tokens[task["user_id"]]) for task in tasks]
        creates = [Request("create", "/api/tasks", self.token(user), bodies[user % len(bodies)]) for user in WRITERS]
        return self.write(name, lists + gets + creates)

    def write(self, name: str, requests: list[Request]) -> Path:
        path = self.folder / name
        write_requests(path, requests)
        return path
