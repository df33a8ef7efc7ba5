"""The endpoints for tasks. Each runs one statement: the file of the same name in sql/tasks/."""

from uuid import UUID

import asyncpg
from aiohttp import hdrs, web
from aiohttp_apispec import docs, response_schema

from todo_service.auth import USER_ID
from todo_service.database import DATABASE, read_statement
from todo_service.http import (
    ANY,
    CHANGES_QUERY,
    COMPLETION,
    CONDITIONS,
    CREATE_HEADERS,
    LIST_QUERY,
    NEW_TASK,
    NO_FILTERS,
    ORDERS,
    SORTS,
    TASK_ID,
    TASK_PATCH,
    ChangesSchema,
    Conditions,
    Cursor,
    TaskSchema,
    derive_task_id,
    empty_list_token,
    fingerprint,
    match_tag,
    next_link,
    refuse_mismatches,
    task_not_found,
)
from todo_service.problems import Problem

LIST_TASKS = read_statement("tasks/list_tasks")
LIST_TASKS_BY = {
    (sort, order): read_statement(f"tasks/list_tasks_by_{sort}_{order}") for sort in SORTS for order in ORDERS
}
FILTERED_TASKS_BY = {
    (sort, order): read_statement(f"tasks/list_tasks_by_{sort}_{order}", unbatched=True)
    for sort, order in LIST_TASKS_BY
}
LIST_CHANGES = read_statement("tasks/list_changes")
CREATE_TASK = read_statement("tasks/create_task")
CREATE_TASK_IDEMPOTENT = read_statement("tasks/create_task_idempotent")
GET_TASK = read_statement("tasks/get_task")
UPDATE_TASK = read_statement("tasks/update_task")
COMPLETE_TASK = read_statement("tasks/complete_task")
DELETE_TASK = read_statement("tasks/delete_task")


@docs(
    tags=["tasks"],
    summary="List your tasks",
    description="One page of your tasks, filtered and sorted. If there is a next page, `Link` has its address.",
    responses={304: {"description": "The list has not changed"}},
    response_headers={200: ("ETag", "Link"), 304: ("ETag",)},
)
@response_schema(TaskSchema(many=True), 200, description="An array of tasks")
async def list_tasks(request: web.Request) -> web.Response:
    """GET /api/tasks"""
    query, conditions = request[LIST_QUERY], request[CONDITIONS]
    run, user_id, tags = request.app[DATABASE].run, request[USER_ID], conditions.if_none_match
    known = None if tags is None else [*tags]
    if query.is_default:
        row = await run(LIST_TASKS, user_id, query.limit, known)
    else:
        key, task_id = (query.cursor.key, query.cursor.id) if query.cursor else (None, None)
        statement = (LIST_TASKS_BY if query.filters == NO_FILTERS else FILTERED_TASKS_BY)[query.sort, query.order]
        row = await run(statement, user_id, query.completed, query.limit, key, task_id, known, *query.filters)
    tag = row["tag"] or str(empty_list_token(user_id))
    response = _representation(conditions, row["body"], tag)
    if row["next_id"]:
        cursor = Cursor(query.sort, query.order, row["next_key"], str(row["next_id"]))
        response.headers[hdrs.LINK] = next_link(request.query, cursor)
    return response


@docs(
    tags=["tasks"],
    summary="Synchronise your tasks",
    description="The changes after `since`. Without `since`, you get all tasks. "
    "If `more` is true, send the next request at once.",
)
@response_schema(ChangesSchema, 200, description="The changes, and the `since` for the next request")
async def list_changes(request: web.Request) -> web.Response:
    """GET /api/tasks/changes"""
    user_id, query = request[USER_ID], request[CHANGES_QUERY]
    empty = empty_list_token(user_id)
    since = None if query.since == empty else query.since
    generation, revision = (since.generation, since.revision) if since else (None, 0)
    row = await request.app[DATABASE].run(LIST_CHANGES, user_id, generation, revision, query.limit, str(empty))
    if row["body"] is None:
        raise Problem("start-over")
    return _json_response(row["body"])


@docs(
    tags=["tasks"],
    summary="Create a task",
    description="With an `Idempotency-Key`, you can repeat the request: the task is created only once.",
    response_headers={201: ("ETag", "Location"), 200: ("ETag", "Location", "Idempotency-Replayed")},
)
@response_schema(TaskSchema, 201, description="The new task; `Location` has its address")
@response_schema(TaskSchema, 200, description="The task that this key created before")
async def create_task(request: web.Request) -> web.Response:
    """POST /api/tasks"""
    new, key = request[NEW_TASK], request[CREATE_HEADERS].idempotency_key
    values = (
        new["title"],
        new["description"],
        new["priority"],
        new["due_date"],
    )
    run = request.app[DATABASE].run
    if key is None:
        row = await run(CREATE_TASK, request[USER_ID], *values)
        return _created(row["id"], row)
    task_id = derive_task_id(request[USER_ID], key)
    row = await run(CREATE_TASK_IDEMPOTENT, request[USER_ID], task_id, fingerprint(new), *values)
    if row["body"] is None:
        raise Problem("task-deleted")
    if not row["same_payload"]:
        raise Problem("idempotency-key-reused")
    response = _created(task_id, row)
    if not row["created"]:
        response.set_status(200)
        response.headers["Idempotency-Replayed"] = "true"
    return response


@docs(
    tags=["tasks"],
    summary="Get a task",
    description="With `If-None-Match`, you get 304 if the task has not changed.",
    responses={304: {"description": "The task has not changed"}},
    response_headers={200: ("ETag",), 304: ("ETag",)},
)
@response_schema(TaskSchema, 200, description="The task")
async def get_task(request: web.Request) -> web.Response:
    """GET /api/tasks/{task_id}"""
    row = await request.app[DATABASE].run(GET_TASK, request[USER_ID], request[TASK_ID])
    if row["task"] is None:
        raise task_not_found()
    body, revision = row["task"]
    return _representation(request[CONDITIONS], body, revision)


@docs(
    tags=["tasks"],
    summary="Change a task",
    description="Changes the members that you send. Null clears a member (RFC 7396). Old clients can use PUT.",
    response_headers={200: ("ETag",)},
)
@response_schema(TaskSchema, 200, description="The task after the change")
async def update_task(request: web.Request) -> web.Response:
    """PATCH and PUT /api/tasks/{task_id}"""
    changes = request[TASK_PATCH]
    row = await request.app[DATABASE].run(
        UPDATE_TASK,
        request[USER_ID],
        request[TASK_ID],
        _if_match(request),
        changes.get("title"),
        "description" in changes,
        changes.get("description"),
        changes.get("completed"),
        "priority" in changes,
        changes.get("priority"),
        "due_date" in changes,
        changes.get("due_date"),
        changes.get("id"),
        changes.get("user_id"),
        changes.get("created_at"),
    )
    if row["mismatches"]:
        refuse_mismatches(row["mismatches"])
    return _changed(row)


@docs(
    tags=["tasks"],
    summary="Complete a task",
    description="Without a body, toggles `completed`. With a body, sets `completed` to its value.",
    response_headers={200: ("ETag",)},
)
@response_schema(TaskSchema, 200, description="The task after the change")
async def complete_task(request: web.Request) -> web.Response:
    """PATCH /api/tasks/{task_id}/complete"""
    completed = request[COMPLETION].get("completed")
    row = await request.app[DATABASE].run(
        COMPLETE_TASK, request[USER_ID], request[TASK_ID], _if_match(request), completed
    )
    return _changed(row)


@docs(
    tags=["tasks"],
    summary="Delete a task",
    description="The task can't be restored. Clients that synchronise get its id in `deleted`.",
    responses={204: {"description": "The task is deleted"}},
)
async def delete_task(request: web.Request) -> web.Response:
    """DELETE /api/tasks/{task_id}"""
    row = await request.app[DATABASE].run(DELETE_TASK, request[USER_ID], request[TASK_ID], _if_match(request))
    if not row["deleted"]:
        raise _not_changed(row)
    return web.Response(status=204)


def _if_match(request: web.Request) -> list[str] | None:
    """The revisions that the task may have, or None for any: the statements don't support `*`."""
    tags = request[CONDITIONS].if_match
    return None if tags is None or tags == ANY else [*tags]


def _representation(conditions: Conditions, body: str, tag: str) -> web.Response:
    """A response with the body, or 304 or 412, depending on the conditions (RFC 9110, section 13.2.2).

    If the client has the current tag of a list, the body has no tasks: the statement compares the tags, too.
    """
    if_match, if_none_match = conditions
    if if_match is not None and match_tag(if_match, tag) is None:
        raise _precondition_failed(tag)
    if if_none_match is not None and (sent := match_tag(if_none_match, tag)):
        return web.Response(status=304, headers={hdrs.ETAG: sent})
    return _json_response(body, tag)


def _created(task_id: UUID, row: asyncpg.Record) -> web.Response:
    response = _json_response(row["body"], row["revision"], status=201)
    response.headers[hdrs.LOCATION] = f"tasks/{task_id}"  # relative, so that a proxy may add a path before /api
    return response


def _changed(row: asyncpg.Record) -> web.Response:
    if row["body"] is None:
        raise _not_changed(row)
    return _json_response(row["body"], row["revision"])


def _not_changed(row: asyncpg.Record) -> Problem:
    return task_not_found() if row["revision"] is None else _precondition_failed(row["revision"])


def _precondition_failed(tag: object) -> Problem:
    return Problem("precondition-failed", headers={hdrs.ETAG: f'"{tag}"'})


def _json_response(body: str, tag: object = None, *, status: int = 200) -> web.Response:
    """A response with JSON text from PostgreSQL, unchanged, and with its entity tag if it has one."""
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    if tag is not None:
        headers[hdrs.ETAG] = f'"{tag}"'
    return web.Response(body=body.encode(), headers=headers, status=status)
