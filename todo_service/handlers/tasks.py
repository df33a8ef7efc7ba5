"""The endpoints of tasks: each runs one statement, of the same name in sql/tasks/."""

from typing import Any

from aiohttp import hdrs, web
from aiohttp_apispec import docs, json_schema, match_info_schema, querystring_schema, response_schema

from todo_service.auth import USER_ID
from todo_service.database import DATABASE
from todo_service.pages import ORDERS, SORTS, Position, link_to
from todo_service.schemas import (
    CompletionSchema,
    ListQuerySchema,
    NewTaskSchema,
    ProblemSchema,
    TaskChangesSchema,
    TaskPathSchema,
    TaskSchema,
)
from todo_service.statements import read_statement
from todo_service.validation import BODY, QUERY, TASK_ID, task_not_found

LIST_TASKS = read_statement("tasks/list_tasks")
LIST_TASKS_BY = {
    (sort, order): read_statement(f"tasks/list_tasks_by_{sort}_{order}") for sort in SORTS for order in ORDERS
}
CREATE_TASK = read_statement("tasks/create_task")
GET_TASK = read_statement("tasks/get_task")
UPDATE_TASK = read_statement("tasks/update_task")
COMPLETE_TASK = read_statement("tasks/complete_task")
DELETE_TASK = read_statement("tasks/delete_task")

ANY_REVISION = None  # what If-Match will fill in
COMPLETED_OF_STATUS = {"all": None, "pending": False, "completed": True}


@docs(tags=["tasks"], summary="List your tasks", description="More than `limit` tasks: `Link` has the next page.")
@querystring_schema(ListQuerySchema)
@response_schema(TaskSchema(many=True), 200, description="An array of tasks")
@response_schema(ProblemSchema, 400, description="The query is wrong")
async def list_tasks(request: web.Request) -> web.Response:
    """GET /api/tasks"""
    query = request[QUERY]
    sort, limit, position = query["sort"], query["limit"], query["cursor"]
    order = query.get("order", SORTS[sort])
    completed = COMPLETED_OF_STATUS[query["status"]]
    run = request.app[DATABASE].run
    if (sort, order, completed, position) == ("created", "desc", None, None):
        row = await run(LIST_TASKS, request[USER_ID], limit)
    else:
        key, task_id = (position.key, position.id) if position else (None, None)
        row = await run(LIST_TASKS_BY[sort, order], request[USER_ID], completed, limit, key, task_id)
    headers = {}
    if row["next_id"]:
        following = Position(sort, order, row["next_key"], str(row["next_id"]))
        headers[hdrs.LINK] = link_to(request.path, request.query, following)
    return _json_response(row["body"], headers=headers)


@docs(tags=["tasks"], summary="Create a task")
@json_schema(NewTaskSchema)
@response_schema(TaskSchema, 201, description="The task; `Location` has its address")
@response_schema(ProblemSchema, 400, description="The body is wrong")
async def create_task(request: web.Request) -> web.Response:
    """POST /api/tasks"""
    new = request[BODY]
    row = await request.app[DATABASE].run(
        CREATE_TASK, request[USER_ID], new["title"], new["description"], new["priority"], new["due_date"]
    )
    return _json_response(row["body"], status=201, headers={hdrs.LOCATION: f"/api/tasks/{row['id']}"})


@docs(tags=["tasks"], summary="Get a task")
@match_info_schema(TaskPathSchema)
@response_schema(TaskSchema, 200, description="The task")
@response_schema(ProblemSchema, 404, description="You have no such task")
async def get_task(request: web.Request) -> web.Response:
    """GET /api/tasks/{task_id}"""
    row = await request.app[DATABASE].run(GET_TASK, request[USER_ID], request[TASK_ID])
    return _task_response(row["body"])


@docs(tags=["tasks"], summary="Change a task", description="Only the members that are sent change; null clears.")
@match_info_schema(TaskPathSchema)
@json_schema(TaskChangesSchema)
@response_schema(TaskSchema, 200, description="The task as it is now")
@response_schema(ProblemSchema, 400, description="The body is wrong")
@response_schema(ProblemSchema, 404, description="You have no such task")
async def update_task(request: web.Request) -> web.Response:
    """PATCH and PUT /api/tasks/{task_id}"""
    changes = request[BODY]
    row = await request.app[DATABASE].run(
        UPDATE_TASK,
        request[USER_ID],
        request[TASK_ID],
        ANY_REVISION,
        changes.get("title"),
        "description" in changes,
        changes.get("description"),
        changes.get("completed"),
        "priority" in changes,
        changes.get("priority"),
        "due_date" in changes,
        changes.get("due_date"),
    )
    return _task_response(row["body"])


@docs(tags=["tasks"], summary="Complete a task", description="Toggles it, or sets it to what the body says.")
@match_info_schema(TaskPathSchema)
@json_schema(CompletionSchema)
@response_schema(TaskSchema, 200, description="The task as it is now")
@response_schema(ProblemSchema, 400, description="The body is wrong")
@response_schema(ProblemSchema, 404, description="You have no such task")
async def complete_task(request: web.Request) -> web.Response:
    """PATCH /api/tasks/{task_id}/complete"""
    completed = request[BODY].get("completed")
    row = await request.app[DATABASE].run(COMPLETE_TASK, request[USER_ID], request[TASK_ID], ANY_REVISION, completed)
    return _task_response(row["body"])


@docs(tags=["tasks"], summary="Delete a task")
@match_info_schema(TaskPathSchema)
@docs(responses={204: {"description": "It is gone"}})
@response_schema(ProblemSchema, 404, description="You have no such task")
async def delete_task(request: web.Request) -> web.Response:
    """DELETE /api/tasks/{task_id}"""
    row = await request.app[DATABASE].run(DELETE_TASK, request[USER_ID], request[TASK_ID], ANY_REVISION)
    if not row["deleted"]:
        raise task_not_found()
    return web.Response(status=204)


def _task_response(body: str | None) -> web.Response:
    if body is None:
        raise task_not_found()
    return _json_response(body)


def _json_response(body: str, **kwargs: Any) -> web.Response:
    """Sends the JSON text that PostgreSQL wrote, as it is."""
    return web.Response(body=body.encode(), content_type="application/json", **kwargs)
