"""A day of a user of todo-service, with the client that openapi-python-client generates.

`synchronise` keeps a copy of the tasks; `create`, `change` and `pages` show the other requests. Set TODO_URL and
TODO_TOKEN. The user must have no tasks, because the program deletes all data of the user at its end.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

import httpx
from todo_service_client import AuthenticatedClient
from todo_service_client.api.me import delete_me, export_tasks
from todo_service_client.api.tasks import (
    complete_task,
    create_task,
    delete_task,
    get_task,
    list_changes,
    list_tasks,
    update_task,
)
from todo_service_client.models import Completion, NewTask, Problem, Task, TaskPatch
from todo_service_client.types import UNSET, Response, Unset

URL = os.environ["TODO_URL"]
T = TypeVar("T")


class ServiceError(Exception):
    """A response that the program doesn't expect."""


def connect(token: str) -> AuthenticatedClient:
    return AuthenticatedClient(URL, token=token, timeout=httpx.Timeout(20), raise_on_unexpected_status=True)


def result(answer: Response[T | Problem]) -> T:
    """The parsed body of a response. Raises ServiceError if the response is a problem."""
    if isinstance(answer.parsed, Problem):
        raise ServiceError(f"{answer.parsed.title}: {answer.parsed.detail}")
    if answer.parsed is None:
        raise ServiceError(f"The response has no body: {answer.status_code}")
    return answer.parsed


def refusal(answer: Response[T | Problem]) -> Problem:
    """Prints and returns the problem of a response that must be a refusal."""
    if not isinstance(answer.parsed, Problem):
        raise ServiceError(f"This is not a refusal: {answer.status_code}")
    problem = answer.parsed
    print(f"  {problem.status} {problem.type_.removeprefix('/problems#')}: {problem.detail}")
    return problem


def titles(tasks: Iterable[Task]) -> str:
    return ", ".join(task.title for task in tasks)


@dataclass
class TaskCopy:
    """A copy of a user's tasks. `since` marks the last change in it. Store both in one transaction."""

    tasks: dict[UUID, Task] = field(default_factory=dict)
    since: str | Unset = UNSET


def synchronise(client: AuthenticatedClient, copy: TaskCopy, limit: int = 1000) -> None:
    """Makes the copy equal to the server's tasks. The first call gets all tasks, later calls only the changes."""
    more = True
    while more:
        answer = list_changes.sync_detailed(client=client, since=copy.since, limit=limit)
        if isinstance(answer.parsed, Problem) and answer.parsed.type_ == "/problems#start-over":
            # 410: the user has deleted everything, or a backup was restored.
            copy.tasks, copy.since = {}, UNSET
            continue
        changes = result(answer)
        for task in changes.tasks:
            copy.tasks[task.id] = task
        for task_id in changes.deleted:
            copy.tasks.pop(task_id, None)
        copy.since, more = changes.since, changes.more


def pages(client: AuthenticatedClient, limit: int) -> Iterator[list[Task]]:
    """All tasks, sorted by title, page by page. If there is a next page, the header `Link` has its relative URL."""
    cursor: str | Unset = UNSET
    while True:
        answer = list_tasks.sync_detailed(client=client, sort="title", limit=limit, cursor=cursor)
        yield result(answer)
        following = re.search(r'<([^>]*)>; rel="next"', answer.headers.get("Link", ""))
        if not following:
            return
        cursor = httpx.URL(f"{URL}/api/tasks").join(following[1]).params["cursor"]


def create(client: AuthenticatedClient) -> Task:
    """Creates three tasks, the second exactly once although it is sent twice. Returns the first."""
    new = NewTask("Buy milk", priority="high", due_date=datetime(2027, 1, 1, 9, tzinfo=UTC))
    milk = result(create_task.sync_detailed(client=client, body=new))
    print(f"Created: {milk.title}, priority {milk.priority}")
    key, new = str(uuid4()), NewTask("Call Bob")
    bob = result(create_task.sync_detailed(client=client, body=new, idempotency_key=key))
    again = result(create_task.sync_detailed(client=client, body=new, idempotency_key=key))
    print(f"Sent twice, created once: {again.id == bob.id}")
    result(create_task.sync_detailed(client=client, body=NewTask("Water the plants")))
    return milk


def change(client: AuthenticatedClient, task: Task) -> None:
    """Changes a task only if it is still in the state that the client has seen."""
    tag = get_task.sync_detailed(task.id, client=client).headers["ETag"]
    print(f"Nothing new: {get_task.sync_detailed(task.id, client=client, if_none_match=tag).status_code}")
    patch = TaskPatch(title="Buy oat milk", due_date=None)
    task = result(update_task.sync_detailed(task.id, client=client, body=patch, if_match=tag))
    print(f"Changed: {task.title}, due {task.due_date or 'never'}")
    patch = TaskPatch(description="Two bottles")
    late = update_task.sync_detailed(task.id, client=client, body=patch, if_match=tag)
    if refusal(late).type_ == "/problems#precondition-failed":  # the task has changed: get it, decide, repeat
        tag = get_task.sync_detailed(task.id, client=client).headers["ETag"]
        task = result(update_task.sync_detailed(task.id, client=client, body=patch, if_match=tag))
    print(f"Changed with the present tag: {task.description}")
    task = result(complete_task.sync_detailed(task.id, client=client, body=Completion(completed=True)))
    print(f"Completed: {task.completed}")


def day(client: AuthenticatedClient) -> None:
    if result(list_tasks.sync_detailed(client=client, limit=1)):
        sys.exit("This user has tasks already: take another user, because all tasks will be deleted.")
    copy = TaskCopy()
    synchronise(client, copy)
    milk = create(client)
    high = list_tasks.sync_detailed(client=client, priority=["high"])
    print(f"Of high priority: {titles(result(high))}")
    for page in pages(client, limit=2):
        print(f"A page: {titles(page)}")
    change(client, milk)
    synchronise(client, copy, limit=2)
    print(f"In the copy: {titles(copy.tasks.values())}")
    print(f"Exported: {len(result(export_tasks.sync_detailed(client=client)).splitlines())} lines")
    print(f"Deleted: {delete_task.sync_detailed(milk.id, client=client).status_code}")
    synchronise(client, copy)
    print(f"Still in the copy: {titles(copy.tasks.values())}")
    mistakes(client)
    print(f"Deleted everything: {delete_me.sync_detailed(client=client).status_code}")
    refusal(list_changes.sync_detailed(client=client, since=copy.since))
    synchronise(client, copy)
    print(f"Tasks in the copy: {len(copy.tasks)}")


def mistakes(client: AuthenticatedClient) -> None:
    """Sends requests that the service refuses, and prints the problem of each."""
    with connect("no token") as stranger:
        refusal(list_tasks.sync_detailed(client=stranger))
    blank = refusal(create_task.sync_detailed(client=client, body=NewTask(" ")))
    if blank.errors:
        print(f"    title: {', '.join(blank.errors['title'])}")
    refusal(list_tasks.sync_detailed(client=client, limit=0))
    refusal(create_task.sync_detailed(client=client, body=NewTask("Read", description="x" * 70_000)))
    key, new = str(uuid4()), NewTask("Call Eve")
    eve = result(create_task.sync_detailed(client=client, body=new, idempotency_key=key))
    refusal(update_task.sync_detailed(eve.id, client=client))  # without a body
    refusal(delete_task.sync_detailed(eve.id, client=client, if_match="a tag without quotes"))
    refusal(create_task.sync_detailed(client=client, body=NewTask("Call Ada"), idempotency_key=key))
    delete_task.sync_detailed(eve.id, client=client)
    refusal(get_task.sync_detailed(eve.id, client=client))
    refusal(create_task.sync_detailed(client=client, body=new, idempotency_key=key))


if __name__ == "__main__":
    with connect(os.environ["TODO_TOKEN"]) as user:
        day(user)
