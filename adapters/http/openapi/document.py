"""The OpenAPI document: that of FastAPI, completed by what follows from the parts of each operation."""

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from adapters.http.idempotency import IDEMPOTENCY_IN_FLIGHT
from adapters.http.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from adapters.http.json_body import MEDIA_TYPES
from adapters.http.openapi import operations
from adapters.http.openapi.components import HEADERS, PARAMETERS, Json
from adapters.http.problems import catalog
from adapters.http.problems.catalog import PROBLEMS, Problem
from adapters.http.problems.responses import PROBLEM_JSON, ProblemBody, example_problem
from adapters.http.routing import REQUIRED_SCOPE, SCHEMES

_DESCRIPTION = """## Authentication
Send an API key as `Authorization: Bearer <key>`. Each operation names its required scope. A key that is bound to a user
can access that user and their posts, and read published posts of other users.

## Errors
Every error is a problem document (RFC 9457), except a 503 of `/readyz`. Its `type` is the path of a page; `/problems`
lists all of them. Unknown fields and query parameters are rejected: `{"pointer": "/nickname", "code": "unknown"}`.

## Pagination
Lists are paginated, newest first. Follow the `Link` header, or send `next_cursor` as `cursor`.

## Concurrency
Updates are JSON merge patches (RFC 7396). Send the `ETag` of the version you read in `If-Match: "1"`. On a mismatch the
response is 412, and no update is lost.

## Idempotency
Send an `Idempotency-Key` with a `POST` to retry it safely. The request is executed once.

## Rate limits
Rates are limited per API key. `RateLimit: "requests";r=99;t=1` means 99 remaining requests, and a reset in 1 s.

## Conventions
Times are RFC 3339 in UTC. A trailing slash in the path is ignored. Every `GET` supports `HEAD`. Each response has an
`X-Request-ID`, which you can also send (1-128 of `A-Z a-z 0-9 . _ -`).
"""
_CONTACT = {"name": "Hexapost", "url": "https://hexapost.example/", "email": "hexapost@hexapost.example"}
_EVERY_OPERATION = (
    catalog.MALFORMED_REQUEST,
    catalog.METHOD_NOT_ALLOWED,
    catalog.REQUEST_TIMEOUT,
    catalog.BODY_TOO_LARGE,
    catalog.REQUEST_HEADER_FIELDS_TOO_LARGE,
    catalog.INTERNAL_ERROR,
)
_AUTHENTICATED_OPERATION = (
    catalog.UNAUTHENTICATED,
    catalog.FORBIDDEN,
    catalog.VALIDATION_FAILED,
    catalog.RATE_LIMITED,
    catalog.OVERLOADED,
    catalog.DATABASE_UNAVAILABLE,
)
_PROBLEMS_OF_PARAMETER = {"Idempotency-Key": IDEMPOTENCY_PROBLEMS, "If-Match": (catalog.VERSION_MISMATCH,)}
_RATE_HEADERS = ("RateLimit", "RateLimit-Policy")
_WITHOUT_RATE_LIMIT = {catalog.UNAUTHENTICATED, catalog.METHOD_NOT_ALLOWED, catalog.REQUEST_HEADER_FIELDS_TOO_LARGE}
"""Problems of requests that are not counted, because the API key is not known."""
_HEADERS_OF_STATUS = {
    401: ["WWW-Authenticate"],
    403: ["WWW-Authenticate"],
    405: ["Allow"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}


def build_document(app: FastAPI, root_path: str = "") -> Json:
    """Return the document of the application. Its routers have tags as objects with a name and a description.

    `root_path` is the prefix of all paths behind a proxy.
    """
    document = get_openapi(
        title="Hexapost",
        version=app.version,
        summary="Users and posts.",
        description=_DESCRIPTION,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=[{"url": root_path or "/", "description": "This service."}],
        license_info={"name": "MIT", "url": "https://opensource.org/license/mit"},
    )
    document["info"]["contact"] = _CONTACT  # after FastAPI, which wants email-validator to read it
    components = document["components"]
    problem = TypeAdapter(ProblemBody).json_schema(ref_template="#/components/schemas/{model}")
    found = components["schemas"] | problem.pop("$defs") | {"Problem": problem}
    for default in ("HTTPValidationError", "ValidationError"):
        found.pop(default, None)
    schemas = {name: _with_complete_examples(_simplify(schema)) for name, schema in sorted(found.items())}
    responses: Json = {}
    for path, item in document["paths"].items():
        for method, operation in list(item.items()):
            _complete(operation, method, schemas)
            if method == "get" and "{" in path:
                item["head"] = _head(operation)
        for method, operation in item.items():
            _add_problems(operation, method, responses, root_path)
    components.update(
        schemas=schemas,
        responses=dict(sorted(responses.items())),
        examples={
            code: {"summary": problem.title, "value": example_problem(problem, root_path)}
            for code, problem in sorted(PROBLEMS.items())
            if problem is not catalog.NOT_FOUND  # no operation has it
        },
        securitySchemes=SCHEMES,
        headers=HEADERS,
        parameters=PARAMETERS,
    )
    return document


def openapi_document(app: FastAPI, root_path: str = "") -> str:
    """Return the document as text: indented, in a stable order, with a final line break."""
    return json.dumps(build_document(app, root_path), indent=2) + "\n"


def _complete(operation: Json, method: str, schemas: Json) -> None:
    """Document the scope, the rate limit headers, the media types and the examples of an operation."""
    operation["parameters"] = [_parameter(parameter) for parameter in operation.get("parameters", [])]
    operation["responses"] = {
        status: response for status, response in operation["responses"].items() if "headers" in response
    }
    if "requestBody" in operation:
        (body,) = operation["requestBody"]["content"].values()
        operation["requestBody"]["content"] = dict.fromkeys(MEDIA_TYPES[method.upper()], _simplify(body))
    for body in [operation.get("requestBody", {}), *operation["responses"].values()]:
        for content in body.get("content", {}).values():
            if "example" not in content and (example := _example(content["schema"], schemas)):
                content["example"] = example
    if operation.setdefault("security", []):
        operation["description"] += f"\n\nRequired scope: `{operation[REQUIRED_SCOPE]}`."
        for response in operation["responses"].values():
            response["headers"].update(operations.header_references(*_RATE_HEADERS))


def _example(schema: Json, schemas: Json) -> Any:
    """Return the example of a schema, or a page with the example of its items. Few tools read examples of schemas."""
    schema = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    fields = schema.get("properties", {})
    if "examples" not in schema and "next_cursor" in fields:
        item, cursor = _example(fields["items"]["items"], schemas), _example(fields["next_cursor"], schemas)
        return {"items": [item], "next_cursor": cursor}
    return next(iter(schema.get("examples", [])), None)


def _parameter(parameter: Json) -> Json:
    """Return a parameter without null: an optional one is absent. Swagger UI does not prefill examples of a schema."""
    if "$ref" in parameter:
        return parameter
    schema = {name: value for name, value in parameter["schema"].items() if name != "description"}
    not_null, *_ = schema.pop("anyOf", [{}])
    return {**parameter, "schema": _simplify({**not_null, **schema})}


def _head(get: Json) -> Json:
    head = deepcopy(get)
    head["operationId"] = "head_" + get["operationId"].removeprefix("get_")
    head["summary"] = f"Check {get['summary'].removeprefix('Get ')} (headers only)"
    head["description"] = f"Returns the headers of the GET response.\n\nRequired scope: `{get[REQUIRED_SCOPE]}`."
    for response in head["responses"].values():
        response.pop("content", None)
    return head


def _add_problems(operation: Json, method: str, shared: Json, root_path: str) -> None:
    """Document the problems of an operation as references to `shared` responses, which are created on first use.

    Their names become the names of types in generated clients.
    """
    by_status: dict[int, list[Problem]] = {}
    for problem in _problems(operation):
        by_status.setdefault(problem.status, []).append(problem)
    for status, problems in by_status.items():
        name = "Or".join(problem.code.title().replace("-", "") for problem in problems)
        if method == "head" or catalog.UNSUPPORTED_MEDIA_TYPE in problems:
            name += method.capitalize()
        is_counted = _WITHOUT_RATE_LIMIT.isdisjoint(problems)
        if is_counted and not operation["security"]:
            name += "Public"
        if name not in shared:
            rate_headers = _RATE_HEADERS if is_counted and operation["security"] else ()
            shared[name] = _problem_response(problems, method, root_path, *rate_headers)
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{name}"}
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _problems(operation: Json) -> Iterable[Problem]:
    found = {*_EVERY_OPERATION, *(PROBLEMS[code] for code in operation.pop(operations.PROBLEMS, []))}
    if operation["security"]:
        found.update(_AUTHENTICATED_OPERATION)
    if "requestBody" in operation:
        found |= {catalog.MALFORMED_JSON, catalog.UNSUPPORTED_MEDIA_TYPE}
    for parameter in operation["parameters"]:
        found.update(_PROBLEMS_OF_PARAMETER.get(parameter.get("$ref", "").rpartition("/")[2], ()))
    return sorted(found, key=lambda problem: (problem.status, problem.code))


def _problem_response(problems: list[Problem], method: str, root_path: str, *rate_headers: str) -> Json:
    names = [*_HEADERS_OF_STATUS.get(problems[0].status, []), *rate_headers]
    if catalog.UNSUPPORTED_MEDIA_TYPE in problems:
        names += [f"Accept-{method.capitalize()}", "Accept-Encoding"]
    response = operations.response(
        "\n\n".join(f"[`{problem.code}`]({root_path}{problem.type}): {problem.default_detail}" for problem in problems),
        *names,
    )
    if IDEMPOTENCY_IN_FLIGHT in problems:  # only this 409 is temporary
        response["headers"]["Retry-After"] = {"$ref": "#/components/headers/Retry-After-In-Flight"}
    if method != "head":
        examples = {problem.code: {"$ref": f"#/components/examples/{problem.code}"} for problem in problems}
        schema = {"$ref": "#/components/schemas/Problem"}
        response["content"] = {PROBLEM_JSON: {"schema": schema, "examples": examples}}
    return response


def _simplify(node: Any) -> Any:
    """Remove titles derived from names, write nullable types as a list of types, and integers without a fraction."""
    if isinstance(node, list):
        return [_simplify(item) for item in node]
    if isinstance(node, float) and node.is_integer():
        return int(node)
    if not isinstance(node, dict):
        return node
    simple = {
        name: value if name in {"example", "examples"} else _simplify(value)
        for name, value in node.items()
        if name != "title" or not isinstance(value, str)
    }
    match simple.get("anyOf"):
        case [{"type": str(kind)} as schema, {"type": "null"}]:
            del simple["anyOf"]
            return {**schema, "type": [kind, "null"], **simple}
    return simple


def _with_complete_examples(schema: Json) -> Json:
    """Return a schema whose examples have the order of its properties, and the nulls that FastAPI has dropped."""
    if "examples" not in schema:
        return schema
    required = schema.get("required", [])
    examples = [
        {name: example.get(name) for name in schema["properties"] if name in example or name in required}
        for example in schema["examples"]
    ]
    return {**schema, "examples": examples}
