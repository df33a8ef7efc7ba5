"""What Schemathesis has to be told of this service besides its description; schemathesis.toml names this file.

Values that only the service can make, or that are good for one request, would be refused if they were made up, and
hide what else the request is about. What the description doesn't allow stays as it is: that has to be refused.
"""

import random
import re
from collections import deque
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import schemathesis

from todo_service.http.cursors import ORDERS, SORTS, Cursor, encode_cursor
from todo_service.http.etags import parse_sync_token
from todo_service.http.validation import UUID_PATTERN as DESCRIBED_ID

Case = schemathesis.Case[Any]

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
DESCRIBED_CURSOR = re.compile("[A-Za-z0-9_-]+")
DESCRIBED_KEY = re.compile("[!-~]{1,255}")

versions: deque[str] = deque(maxlen=1)
"""The `since` that the service gave last."""

tasks: deque[str] = deque(maxlen=50)
"""The tasks that were created last, and are there still."""


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    match case.operation.definition.raw.get("operationId"):
        case "list_tasks":
            use_a_cursor_of_this_list(case.query)
        case "list_changes":
            use_a_known_version(case.query)
        case "create_task":
            use_a_new_key(case)
        case "get_task" | "update_task" | "update_task_by_put" | "complete_task" | "delete_task":
            use_a_known_task(case)


@schemathesis.hook
def after_call(_context: schemathesis.HookContext, case: Case, response: schemathesis.Response) -> None:
    match case.operation.method.upper(), case.operation.path, response.status_code:
        case "GET", "/api/tasks/changes", 200:
            versions.append(response.json()["since"])
        case "POST", "/api/tasks", 201:
            tasks.append(response.json()["id"])
        case "DELETE", "/api/tasks/{task_id}", 204:
            if (task_id := case.path_parameters["task_id"].lower()) in tasks:
                tasks.remove(task_id)
        case "DELETE", "/api/me", 204:
            tasks.clear()


def use_a_cursor_of_this_list(query: dict[str, Any]) -> None:
    """It has a checksum, and is good for one sort and order: one that the service could have made for these."""
    cursor, sort, order = query.get("cursor"), query.get("sort", "created"), query.get("order")
    if not isinstance(cursor, str) or not DESCRIBED_CURSOR.fullmatch(cursor) or sort not in tuple(SORTS):
        return
    if order is None or order in ORDERS:
        query["cursor"] = encode_cursor(a_position(sort, order or SORTS[sort], random.Random(cursor)))


def a_position(sort: str, order: str, chance: random.Random) -> Cursor:
    """Somewhere in a list that is sorted so. Tasks without a due date have no key."""
    moment = (EPOCH + timedelta(microseconds=chance.randrange(10**15))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    title = "".join(chance.choices("aZ ß9\U0001f95b\"'\\", k=chance.randrange(1, 200)))
    keys = {"created": moment, "due_date": chance.choice([moment, None]), "title": title}
    return Cursor(sort, order, keys[sort], str(UUID(int=chance.getrandbits(128))))


def use_a_known_version(query: dict[str, Any]) -> None:
    """A made up one is of nobody's tasks: half of them become one of this user's, of the same or the last revision."""
    since = query.get("since")
    if not isinstance(since, str) or not (version := parse_sync_token(since)):
        return
    if not versions:
        del query["since"]
    else:
        generation = versions[0].rpartition("-")[0]
        kind = sha256(since.encode()).digest()[0] % 4
        query["since"] = [since, since, versions[0], f"{generation}-{version.revision}"][kind]


def use_a_known_task(case: Case) -> None:
    """Half of those that aren't there become one that is, except in stories, where the steps before say which."""
    task_id = case.path_parameters.get("task_id")
    is_in_a_story = case.meta is None or case.meta.phase.name == "stateful"
    if not tasks or is_in_a_story or not isinstance(task_id, str) or not DESCRIBED_ID.fullmatch(task_id):
        return
    if task_id.lower() not in tasks and task_id[-1] in "02468ace":
        case.path_parameters["task_id"] = tasks[int(task_id[:8], 16) % len(tasks)]


def use_a_new_key(case: Case) -> None:
    """Those that are generated are often the same, with other bodies: three in four become keys of their bodies."""
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and DESCRIBED_KEY.fullmatch(key):
        digest = sha256(f"{key} {case.body!r}".encode(errors="surrogatepass")).hexdigest()
        if digest[0] > "3":
            case.headers["Idempotency-Key"] = (digest + key)[:255]
