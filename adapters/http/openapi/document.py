"""The OpenAPI document, which extends the document of FastAPI."""

import json
import re
from copy import deepcopy
from itertools import chain, count

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from adapters.http.openapi.components import FIELD_ERROR, HEADERS, PARAMETERS, PROBLEM, Json, problem_examples
from adapters.http.routers import api_keys
from adapters.http.security.scopes import REQUIRED_SCOPE, SCHEMES

HEAD_OPERATIONS = {
    "/api/v1/users/{user_id}": "head_user",
    "/api/v1/posts/{post_id}": "head_post",
    "/api/v1/api-keys/{key_id}": "head_api_key",
}
"""The paths whose HEAD is documented as a separate operation, with its ID. Every GET supports HEAD."""

_DESCRIPTION = """Users and their posts.

## Authentication
Send an API key as `Authorization: Bearer <key>`. Each operation names its required scope. A key that is bound to a user
can access that user and their posts, and read published posts of other users.

## Errors
Every error is a problem document (RFC 9457). Its `type` is the path of a page; `/problems` lists all of them. Unknown
fields and query parameters are rejected: `{"pointer": "/nickname", "code": "unknown"}`.

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
_RATE_HEADERS = ("RateLimit", "RateLimit-Policy")
_TAGS = [
    {"name": "api-keys", "description": "API key administration (operators)."},
    {"name": "health", "description": "Probes and metrics (operators)."},
    {"name": "posts", "description": "Posts and their lifecycle: draft -> published <-> archived."},
    {"name": "users", "description": "User accounts."},
]


def build_document(app: FastAPI) -> Json:
    """Return the document of the application."""
    document = get_openapi(
        title="Hexapost",
        version=app.version,
        summary="Users and posts.",
        description=_DESCRIPTION,
        routes=app.routes,
        tags=_TAGS,
        servers=[{"url": "/", "description": "This service."}],
        license_info={"name": "MIT", "url": "https://opensource.org/license/mit"},
    )
    document["info"]["contact"] = _CONTACT  # after FastAPI, which wants email-validator to read it
    components = document["components"]
    components["schemas"].update(Problem=PROBLEM, FieldError=FIELD_ERROR, Scope=api_keys.SCOPE_SCHEMA)
    used = set(re.findall("#/components/examples/([a-z-]+)", json.dumps(document["paths"])))
    examples = {name: example for name, example in (problem_examples() | api_keys.EXAMPLES).items() if name in used}
    components["securitySchemes"] = SCHEMES
    components.update(headers=HEADERS, parameters=PARAMETERS, examples=examples)
    for operation in (one for path in document["paths"].values() for one in path.values()):
        _complete(operation)
    for path, operation_id in HEAD_OPERATIONS.items():
        document["paths"][path]["head"] = _head(document["paths"][path]["get"], operation_id)
    components["responses"] = _extract_problem_responses(document)
    return document


def openapi_document(app: FastAPI) -> str:
    """Return the document as text: indented, in a stable order, with a final line break."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def _complete(operation: Json) -> None:
    """Document the scope and the rate limit headers of an operation that requires an API key."""
    if not operation.setdefault("security", []):
        return
    operation["description"] += f"\n\nRequired scope: `{operation[REQUIRED_SCOPE]}`."
    for status, response in operation["responses"].items():
        if status != "401":
            response["headers"].update({name: {"$ref": f"#/components/headers/{name}"} for name in _RATE_HEADERS})


def _head(get: Json, operation_id: str) -> Json:
    head = deepcopy(get)
    head["operationId"] = operation_id
    head["summary"] = f"Check {get['summary'].removeprefix('Get ')} (headers only)"
    head["description"] = f"Returns the headers of the GET response.\n\nRequired scope: `{get[REQUIRED_SCOPE]}`."
    for response in head["responses"].values():
        response.pop("content", None)
    return head


def _extract_problem_responses(document: Json) -> Json:
    """Replace the problem responses of all operations by references, and return them by name."""
    shared: Json = {}
    for operation in (one for path in document["paths"].values() for one in path.values()):
        for status, response in operation["responses"].items():
            codes = re.findall("`([a-z-]+)`:", response["description"])
            if not codes:
                continue
            base = ".".join([status, *codes])
            names = chain([base], (f"{base}.{number}" for number in count(2)))
            name = next(name for name in names if shared.setdefault(name, response) == response)
            operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return shared
