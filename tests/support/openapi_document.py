"""The OpenAPI description of the API, and lookups in it."""

import json
from collections.abc import Iterator
from typing import Any

from todo_service.app import description

DOCUMENT: dict[str, Any] = json.loads(description())
SCHEMAS = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of each operation."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def operation_of(operation_id: str) -> dict[str, Any]:
    return next(operation for _, _, operation in operations() if operation["operationId"] == operation_id)


def parameters_of(operation_id: str, location: str) -> dict[str, Any]:
    """The parameters of an operation by name. The location is `path`, `query` or `header`."""
    parameters = operation_of(operation_id)["parameters"]
    return {parameter["name"]: parameter for parameter in parameters if parameter["in"] == location}
