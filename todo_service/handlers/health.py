"""The health endpoints: whether the service runs, and whether it is ready."""

from aiohttp import web
from aiohttp_apispec import docs, response_schema

from todo_service.database import DATABASE, read_statement
from todo_service.http import HealthSchema
from todo_service.problems import RETRY_AFTER, Problem

CHECK_READINESS = read_statement("health/check_readiness")


@docs(
    tags=["health"],
    summary="Check that the service runs",
    description="The response does not depend on the database.",
)
@response_schema(HealthSchema, 200, description="The service runs")
async def get_health(_request: web.Request) -> web.Response:
    """GET /health"""
    return web.json_response({"status": "healthy"})


@docs(
    tags=["health"],
    summary="Check that the service is ready",
    description="Checks that the database can be reached and has been migrated.",
)
@response_schema(HealthSchema, 200, description="The service is ready")
async def get_readiness(request: web.Request) -> web.Response:
    """GET /health/ready"""
    row = await request.app[DATABASE].run_without_user(CHECK_READINESS)
    if not row["migrated"]:
        raise Problem(
            "unavailable", "The database has not been migrated: run todo-service migrate.", headers=RETRY_AFTER
        )
    return web.json_response({"status": "healthy"})
