"""The OpenAPI description: it lists every operation with its parameters, bodies, responses and problems."""

import json
import re
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.api import Client, task_of
from tests.support.external_programs import npm_command
from tests.support.members import CREATED, IGNORED, MEMBERS, NAMES
from tests.support.openapi_document import DOCUMENT, SCHEMAS, operation_of, operations, parameters_of
from tests.support.processes import run_command
from todo_service.app import description
from todo_service.http.headers import RESPONSE_HEADERS
from todo_service.http.schemas import CompletionSchema, NewTaskSchema, TaskPatchSchema
from todo_service.problems import TYPES

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"

OPERATIONS = {
    "/api/tasks": {"get": "list_tasks", "post": "create_task"},
    "/api/tasks/changes": {"get": "list_changes"},
    "/api/tasks/{task_id}": {
        "get": "get_task",
        "patch": "update_task",
        "put": "update_task_by_put",
        "delete": "delete_task",
    },
    "/api/tasks/{task_id}/complete": {"patch": "complete_task"},
    "/api/export": {"get": "export_tasks"},
    "/api/me": {"delete": "delete_me"},
    "/health": {"get": "get_health"},
    "/health/ready": {"get": "get_readiness"},
}

READ = {"400", "401", "500", "503"}
WRITE = READ | {"404", "412"}
BODY = {"408", "413", "415"}

STATUSES = {
    "list_tasks": READ | {"200", "304", "412"},
    "create_task": READ | BODY | {"200", "201", "410", "422"},
    "list_changes": READ | {"200", "410"},
    "get_task": READ | {"200", "304", "404", "412"},
    "update_task": WRITE | BODY | {"200"},
    "update_task_by_put": WRITE | BODY | {"200"},
    "delete_task": WRITE | {"204"},
    "complete_task": WRITE | BODY | {"200"},
    "export_tasks": READ | {"200"},
    "delete_me": READ | {"204"},
    "get_health": {"200", "500"},
    "get_readiness": {"200", "500", "503"},
}

PROBLEMS = {
    "list_tasks": {"precondition-failed"},
    "create_task": {"outcome-unknown", "task-deleted", "idempotency-key-reused"},
    "list_changes": {"start-over"},
    "get_task": {"task-not-found", "precondition-failed"},
    "update_task": {"outcome-unknown", "task-not-found", "precondition-failed"},
    "update_task_by_put": {"outcome-unknown", "task-not-found", "precondition-failed"},
    "delete_task": {"outcome-unknown", "task-not-found", "precondition-failed"},
    "complete_task": {"outcome-unknown", "task-not-found", "precondition-failed"},
    "export_tasks": set(),
    "delete_me": {"outcome-unknown"},
}
PROBLEMS_OF_EVERY_REQUEST = {"unauthorized", "invalid-query", "unavailable", "internal-error"}
PROBLEMS_OF_HEADERS = {"invalid-header"}
PROBLEMS_OF_BODIES = {"malformed-json", "invalid-body", "request-timeout", "body-too-large", "unsupported-media-type"}

HEADERS = {
    ("list_tasks", "200"): {"ETag", "Link"},
    ("list_tasks", "304"): {"ETag"},
    ("create_task", "201"): {"ETag", "Location"},
    ("create_task", "200"): {"ETag", "Location", "Idempotency-Replayed"},
    ("get_task", "200"): {"ETag"},
    ("get_task", "304"): {"ETag"},
    ("update_task", "200"): {"ETag"},
    ("update_task_by_put", "200"): {"ETag"},
    ("complete_task", "200"): {"ETag"},
}
HEADERS_OF_PROBLEMS = {"401": {"WWW-Authenticate"}, "412": {"ETag"}, "415": {"Accept-Patch"}, "503": {"Retry-After"}}


def test_the_description_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


@pytest.mark.slow
def test_the_description_passes_the_rules_of_spectral(tmp_path: Path) -> None:
    ruleset = tmp_path / "ruleset.yaml"
    ruleset.write_text('extends: ["spectral:oas"]\n')
    linted = npm_command("spectral", "lint", "--ruleset", ruleset, "--fail-severity", "hint", COMMITTED)
    assert (linted.returncode, linted.stdout.strip()) == (0, "No results with a severity of 'hint' or higher found!")


def test_every_operation_is_described() -> None:
    found: dict[str, dict[str, str]] = {}
    for path, method, operation in operations():
        found.setdefault(path, {})[method] = operation["operationId"]
        assert operation["summary"]
        assert operation["description"].endswith(".")
        (tag,) = operation["tags"]
        assert tag in {known["name"] for known in DOCUMENT["tags"]}
        names = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", path))
    assert found == OPERATIONS


def test_every_operation_lists_its_statuses_and_headers() -> None:
    for _, method, operation in operations():
        name = operation["operationId"]
        assert set(operation["responses"]) == STATUSES[name], name
        for status, response in operation["responses"].items():
            expected = HEADERS.get((name, status), HEADERS_OF_PROBLEMS.get(status, set()))
            if method != "patch":
                expected = expected - {"Accept-Patch"}
            assert set(response.get("headers", ())) == expected, (name, status)


def test_every_response_with_content_has_a_schema_or_a_problem() -> None:
    problem = {"$ref": "#/components/schemas/Problem"}
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            content = response.get("content", {})
            assert bool(content) == (status not in {"204", "304"})
            for media_type, described in content.items():
                assert (
                    (media_type == "application/problem+json") == (status >= "400") == (described["schema"] == problem)
                )
                for name, example in described.get("examples", {}).items():
                    assert example == {"$ref": f"#/components/examples/{name}"}
                    assert str(TYPES[name].status) == status


def test_every_problem_of_an_operation_has_an_example() -> None:
    type_ = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]
    assert type_["examples"] == [f"/problems#{name}" for name in TYPES]
    of_no_operation = {"malformed-request", "route-not-found", "method-not-allowed", "method-not-implemented"}
    examples = DOCUMENT["components"]["examples"]
    assert set(examples) == set(TYPES) - of_no_operation
    for name, example in examples.items():
        value, kind = example["value"], TYPES[name]
        expected = (f"/problems#{name}", kind.title, kind.status, kind.detail or kind.example)
        assert (value["type"], value["title"], value["status"], value["detail"]) == expected


def test_every_operation_lists_its_problems() -> None:
    for path, method, operation in operations():
        found = {
            name
            for response in operation["responses"].values()
            for name in response.get("content", {}).get("application/problem+json", {}).get("examples", ())
        }
        expected = {"internal-error"} | ({"unavailable"} if path == "/health/ready" else set())
        if (name := operation["operationId"]) in PROBLEMS:
            expected = PROBLEMS[name] | PROBLEMS_OF_EVERY_REQUEST
            expected |= PROBLEMS_OF_BODIES if "requestBody" in operation else set()
            has_headers = name not in {"list_changes", "export_tasks"}
            expected |= PROBLEMS_OF_HEADERS if has_headers else set()
        assert found == expected, (method, path)


def test_only_public_operations_need_no_token() -> None:
    assert DOCUMENT["security"] == [{"bearer": []}]
    assert DOCUMENT["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, _, operation in operations():
        assert ("security" in operation) == (not path.startswith("/api/"))
        assert operation.get("security", []) == []


def test_patch_and_put_of_a_task_differ_in_media_types_only() -> None:
    patch, put = operation_of("update_task"), operation_of("update_task_by_put")
    different = {"operationId", "requestBody", "responses"}
    assert {name: patch[name] for name in patch.keys() - different} == {
        name: put[name] for name in put.keys() - different
    }
    assert patch["responses"].keys() == put["responses"].keys()
    assert list(patch["requestBody"]["content"]) == ["application/json", "application/merge-patch+json"]
    assert list(put["requestBody"]["content"]) == ["application/json"]


def test_only_the_body_of_complete_task_is_optional() -> None:
    required = {
        operation["operationId"]: operation["requestBody"]["required"]
        for _, _, operation in operations()
        if "requestBody" in operation
    }
    assert required == {"create_task": True, "update_task": True, "update_task_by_put": True, "complete_task": False}


def test_parameters_have_defaults_enums_and_examples_and_are_never_null() -> None:
    for _, _, operation in operations():
        for parameter in operation["parameters"]:
            schema = parameter["schema"]
            assert parameter["description"].endswith(".")
            assert schema["examples"]
            assert isinstance(schema["type"], str)
            assert schema.get("default", ...) is not None
    query = {name: parameter["schema"] for name, parameter in parameters_of("list_tasks", "query").items()}
    assert list(query) == [
        *("status", "sort", "order", "limit", "priority", "due_before", "due_after", "q", "cursor"),
    ]
    assert (query["status"]["enum"], query["status"]["default"]) == (["all", "pending", "completed"], "all")
    assert (query["sort"]["enum"], query["sort"]["default"]) == (["created", "title", "due_date"], "created")
    assert query["order"]["enum"] == ["asc", "desc"]
    assert [query["limit"][name] for name in ("type", "minimum", "maximum", "default")] == ["integer", 1, 1000, 1000]
    assert (query["priority"]["type"], query["priority"]["items"]["enum"]) == ("array", ["low", "medium", "high"])
    assert parameters_of("list_tasks", "query")["priority"]["explode"]
    assert query["due_before"]["format"] == query["due_after"]["format"] == "date-time"
    assert (query["q"]["minLength"], query["q"]["maxLength"]) == (1, 200)


@pytest.mark.parametrize(
    ("operation_id", "headers"),
    [
        ("list_tasks", {"If-Match", "If-None-Match"}),
        ("get_task", {"If-Match", "If-None-Match"}),
        ("create_task", {"Idempotency-Key"}),
        ("update_task", {"If-Match"}),
        ("complete_task", {"If-Match"}),
        ("delete_task", {"If-Match"}),
        ("list_changes", set()),
        ("export_tasks", set()),
        ("delete_me", set()),
    ],
)
def test_conditions_and_idempotency_keys_are_header_parameters(operation_id: str, headers: set[str]) -> None:
    assert set(parameters_of(operation_id, "header")) == headers


def test_the_schema_of_a_task_describes_every_member() -> None:
    task = SCHEMAS["Task"]["properties"]
    left_out = {"description", "examples", "pattern"}
    described = {
        name: {keyword: value for keyword, value in schema.items() if keyword not in left_out}
        for name, schema in task.items()
    }
    assert described == {member.name: member.openapi_schema for member in MEMBERS}
    assert sorted(SCHEMAS["Task"]["required"]) == sorted(task)


def test_a_patch_accepts_each_member_of_a_task() -> None:
    task, patch = SCHEMAS["Task"]["properties"], SCHEMAS["TaskPatch"]["properties"]
    for name, schema in patch.items():
        if name in IGNORED:
            assert schema.keys() == {"description"}
        else:
            text = {"description": "", "examples": []}
            assert {**schema, **text} == {**task[name], **text}


def test_the_example_of_a_body_is_valid_for_each_task() -> None:
    bodies = [operation["requestBody"]["content"] for _, _, operation in operations() if "requestBody" in operation]
    assert bodies
    for media_types in bodies:
        for content in media_types.values():
            schema = {"NewTask": NewTaskSchema, "TaskPatch": TaskPatchSchema, "Completion": CompletionSchema}[
                content["schema"]["$ref"].rpartition("/")[2]
            ]
            assert schema().load(content["example"])
            assert not content["example"].keys() & {"id", "user_id", "created_at", "updated_at", "revision"}


def test_schemas_of_requests_allow_no_other_members() -> None:
    closed = {name for name, schema in SCHEMAS.items() if schema.get("additionalProperties") is False}
    assert closed == {"NewTask", "TaskPatch", "Completion"}
    assert set(SCHEMAS) - closed == {"Task", "Changes", "Problem", "Health"}
    assert SCHEMAS["NewTask"]["properties"].keys() == CREATED.keys()
    assert list(SCHEMAS["TaskPatch"]["properties"]) == NAMES
    assert SCHEMAS["NewTask"]["required"] == ["title"]
    assert "required" not in SCHEMAS["TaskPatch"]


def test_the_export_is_described_as_lines_of_json() -> None:
    content = operation_of("export_tasks")["responses"]["200"]["content"]
    assert list(content) == ["application/x-ndjson"]
    (line,) = content["application/x-ndjson"]["schema"]["examples"]
    assert line.endswith("\n")
    task_of(json.loads(line))


def test_the_description_names_a_license_and_a_server() -> None:
    info = DOCUMENT["info"]
    assert info["license"] == {"name": "MIT", "identifier": "MIT"}
    assert info["description"]
    assert DOCUMENT["servers"][0]["url"] == ".", "relative to the address of the description (RFC 3986)"


def test_configured_origins_can_read_the_described_headers() -> None:
    unreadable = {"Accept-Patch"}  # no web page needs it
    assert set(DOCUMENT["components"]["headers"]) - unreadable <= set(RESPONSE_HEADERS.split(", "))


async def test_the_description_is_served_with_an_etag(client: Client) -> None:
    response = await client.get("/openapi.json")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    assert await response.read() == description()
    tag = response.headers["ETag"]
    for known, status, expected in ((tag, 304, tag), (f'"x", W/{tag}', 304, f"W/{tag}"), ('"x"', 200, tag)):
        again = await client.get("/openapi.json", headers={"If-None-Match": known})
        assert (again.status, again.headers["ETag"]) == (status, expected)
        assert await again.read() == (description() if status == 200 else b"")
    assert (await client.get("/openapi.json", headers={"If-None-Match": "*"})).status == 304


def test_the_openapi_command_prints_the_committed_description() -> None:
    printed = run_command("openapi")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout == COMMITTED.read_text(), "stale: run `todo-service openapi > docs/openapi.json`"
