"""Hooks of Schemathesis (schemathesis.toml names this module).

The hooks replace well-formed but random cursors, ids, `since` values and keys with values that the service accepts.
Otherwise the service would refuse nearly every request. The hooks don't change malformed values.
"""

import random
import re
from collections import deque
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import schemathesis

from tests.support.members import EQUAL
from todo_service.http.cursors import ORDERS, SORTS, Cursor, encode_cursor
from todo_service.http.etags import parse_sync_token
from todo_service.http.fields import UUID_PATTERN as VALID_ID
from todo_service.http.schemas import TaskPatchSchema

Case = schemathesis.Case[Any]

PATCH = TaskPatchSchema()
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
VALID_CURSOR = re.compile("[A-Za-z0-9_-]+")
VALID_KEY = re.compile("[!-~]{1,255}")

sync_tokens: deque[str] = deque(maxlen=1)
"""The last `since` of a response."""

tasks: dict[str, dict[str, Any]] = {}
"""The tasks that were created last and not deleted, by their ids."""
MAX_TASKS = 50


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    match case.operation.definition.raw.get("operationId"):
        case "list_tasks":
            use_valid_cursor(case.query)
        case "list_changes":
            use_known_sync_token(case.query)
        case "create_task":
            use_new_key(case)
        case "update_task" | "update_task_by_put":
            use_known_task(case)
            use_members_of_task(case)
        case "get_task" | "complete_task" | "delete_task":
            use_known_task(case)


@schemathesis.hook
def after_call(_context: schemathesis.HookContext, case: Case, response: schemathesis.Response) -> None:
    match case.operation.method.upper(), case.operation.path, response.status_code:
        case "GET", "/api/tasks/changes", 200:
            sync_tokens.append(response.json()["since"])
        case "POST", "/api/tasks", 201:
            tasks[response.json()["id"]] = response.json()
            if len(tasks) > MAX_TASKS:
                del tasks[next(iter(tasks))]
        case "DELETE", "/api/tasks/{task_id}", 204:
            tasks.pop(case.path_parameters["task_id"].lower(), None)
        case "DELETE", "/api/me", 204:
            tasks.clear()


def use_valid_cursor(query: dict[str, Any]) -> None:
    """Replaces the cursor with one that the service could have made. It has a checksum, and fits one sort and order."""
    cursor, sort, order = query.get("cursor"), query.get("sort", "created"), query.get("order")
    if not isinstance(cursor, str) or not VALID_CURSOR.fullmatch(cursor) or sort not in tuple(SORTS):
        return
    if order is None or order in ORDERS:
        query["cursor"] = encode_cursor(random_cursor(sort, order or SORTS[sort], random.Random(cursor)))


def random_cursor(sort: str, order: str, rng: random.Random) -> Cursor:
    """A position in a list with this sort and order. Tasks without a due date have no key."""
    moment = (EPOCH + timedelta(microseconds=rng.randrange(10**15))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    title = "".join(rng.choices("aZ ß9\U0001f95b\"'\\", k=rng.randrange(1, 200)))
    keys = {"created": moment, "due_date": rng.choice([moment, None]), "title": title}
    return Cursor(sort, order, keys[sort], str(UUID(int=rng.getrandbits(128))))


def use_known_sync_token(query: dict[str, Any]) -> None:
    """Replaces half of the valid sync tokens with this user's last token, or puts this user's generation into them.

    The other half gets 410.
    """
    since = query.get("since")
    if not isinstance(since, str) or not (token := parse_sync_token(since)):
        return
    if not sync_tokens:
        del query["since"]
    else:
        generation = sync_tokens[0].rpartition("-")[0]
        choice = sha256(since.encode()).digest()[0] % 4
        query["since"] = [since, since, sync_tokens[0], f"{generation}-{token.revision}"][choice]


def use_known_task(case: Case) -> None:
    """Replaces half of the unknown ids with a known one, except in stateful tests, where earlier steps give the id."""
    task_id = case.path_parameters.get("task_id")
    is_stateful = case.meta is None or case.meta.phase.name == "stateful"
    if not tasks or is_stateful or not isinstance(task_id, str) or not VALID_ID.fullmatch(task_id):
        return
    if task_id.lower() not in tasks and task_id[-1] in "02468ace":
        case.path_parameters["task_id"] = list(tasks)[int(task_id[:8], 16) % len(tasks)]


def use_members_of_task(case: Case) -> None:
    """Replaces well-formed members that must be equal to those of the task, or removes them if it isn't known."""
    if not isinstance(case.body, dict):
        return
    task = tasks.get(str(case.path_parameters.get("task_id")).lower(), {})
    for name in EQUAL & case.body.keys():
        if not PATCH.validate({name: case.body[name]}):
            del case.body[name]
            case.body.update({name: task[name]} if task else {})


def use_new_key(case: Case) -> None:
    """Replaces three in four keys with one that depends on the body: generated keys often repeat with other bodies."""
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and VALID_KEY.fullmatch(key):
        digest = sha256(f"{key} {case.body!r}".encode(errors="surrogatepass")).hexdigest()
        if digest[0] > "3":
            case.headers["Idempotency-Key"] = (digest + key)[:255]
