"""A day with todo-service, through the client that openapi-python-client generates.

It needs a user without tasks, because it ends with deleting all that is kept of the user.
"""

import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

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


def connect(token: str) -> AuthenticatedClient:
    return AuthenticatedClient(URL, token=token, timeout=httpx.Timeout(20), raise_on_unexpected_status=True)


def result(answer: Response[T | Problem]) -> T:
    """What was asked for; a problem that is not expected ends the program."""
    if isinstance(answer.parsed, Problem):
        sys.exit(f"{answer.parsed.title}: {answer.parsed.detail}")
    if answer.parsed is None:
        sys.exit(f"There is nothing in the answer: {answer.status_code}")
    return answer.parsed


def refusal(answer: Response[T | Problem]) -> Problem:
    """The problem that is expected."""
    if not isinstance(answer.parsed, Problem):
        sys.exit(f"This should have been refused: {answer.status_code}")
    problem = answer.parsed
    print(f"  {problem.status} {problem.type_.removeprefix('/problems#')}: {problem.detail}")
    return problem


def titles(tasks: list[Task]) -> str:
    return ", ".join(task.title for task in tasks)


def pages(client: AuthenticatedClient, limit: int) -> Iterator[list[Task]]:
    """All tasks, sorted by title, page by page: `Link` has the cursor of the next one, if there is one."""
    cursor: str | Unset = UNSET
    while True:
        answer = list_tasks.sync_detailed(client=client, sort="title", limit=limit, cursor=cursor)
        yield result(answer)
        following = re.search(r'[?&]cursor=([\w-]+)[^>]*>; rel="next"', answer.headers.get("Link", ""))
        if not following:
            return
        cursor = following[1]


def create(client: AuthenticatedClient) -> Task:
    """Some tasks, one of them certainly once, and the first of them."""
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
    """Changes that are made only to what they are meant for."""
    tag = get_task.sync_detailed(task.id, client=client).headers["ETag"]
    print(f"Nothing new: {get_task.sync_detailed(task.id, client=client, if_none_match=tag).status_code}")
    patch = TaskPatch(title="Buy oat milk", due_date=None)
    task = result(update_task.sync_detailed(task.id, client=client, body=patch, if_match=tag))
    print(f"Changed: {task.title}, due {task.due_date or 'never'}")
    patch = TaskPatch(description="Two bottles")
    late = update_task.sync_detailed(task.id, client=client, body=patch, if_match=tag)
    if refusal(late).type_ == "/problems#precondition-failed":  # the tag is an old one: look, decide, and repeat
        tag = get_task.sync_detailed(task.id, client=client).headers["ETag"]
        task = result(update_task.sync_detailed(task.id, client=client, body=patch, if_match=tag))
    print(f"Changed with the present tag: {task.description}")
    task = result(complete_task.sync_detailed(task.id, client=client, body=Completion(completed=True)))
    print(f"Completed: {task.completed}")


def day(client: AuthenticatedClient) -> None:
    if result(list_tasks.sync_detailed(client=client, limit=1)):
        sys.exit("This user has tasks already: take another one, since all will be deleted.")
    since = result(list_changes.sync_detailed(client=client)).since
    milk = create(client)
    high = list_tasks.sync_detailed(client=client, priority=["high"])
    print(f"Of high priority: {titles(result(high))}")
    for page in pages(client, limit=2):
        print(f"A page: {titles(page)}")
    change(client, milk)
    changes = result(list_changes.sync_detailed(client=client, since=since))
    print(f"Changed today: {titles(changes.tasks)}; more: {changes.more}")
    print(f"Exported: {len(result(export_tasks.sync_detailed(client=client)).splitlines())} lines")
    print(f"Deleted: {delete_task.sync_detailed(milk.id, client=client).status_code}")
    changes = result(list_changes.sync_detailed(client=client, since=changes.since))
    print(f"Deleted, says the service: {changes.deleted == [milk.id]}")
    mistakes(client)
    print(f"Deleted everything: {delete_me.sync_detailed(client=client).status_code}")
    refusal(list_changes.sync_detailed(client=client, since=changes.since))


def mistakes(client: AuthenticatedClient) -> None:
    """What is refused, each as a problem."""
    with connect("no token") as stranger:
        refusal(list_tasks.sync_detailed(client=stranger))
    blank = refusal(create_task.sync_detailed(client=client, body=NewTask(" ")))
    if blank.errors:
        print(f"    title: {', '.join(blank.errors['title'])}")
    refusal(list_tasks.sync_detailed(client=client, limit=0))
    refusal(create_task.sync_detailed(client=client, body=NewTask("Read", description="x" * 70_000)))
    key, new = str(uuid4()), NewTask("Call Eve")
    eve = result(create_task.sync_detailed(client=client, body=new, idempotency_key=key))
    refusal(update_task.sync_detailed(eve.id, client=client))  # which forgets the body
    refusal(delete_task.sync_detailed(eve.id, client=client, if_match="a tag without quotes"))
    refusal(create_task.sync_detailed(client=client, body=NewTask("Call Ada"), idempotency_key=key))
    delete_task.sync_detailed(eve.id, client=client)
    refusal(get_task.sync_detailed(eve.id, client=client))
    refusal(create_task.sync_detailed(client=client, body=new, idempotency_key=key))


if __name__ == "__main__":
    with connect(os.environ["TODO_TOKEN"]) as user:
        day(user)
