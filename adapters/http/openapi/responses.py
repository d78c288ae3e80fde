"""Builders for the OpenAPI parts of an operation: responses, links, parameters."""

from collections.abc import Sequence
from typing import Any

from adapters.http.idempotency import IDEMPOTENCY_IN_FLIGHT
from adapters.http.json_body import MEDIA_TYPES
from adapters.http.openapi.components import Json
from adapters.http.problems.catalog import (
    BODY_TOO_LARGE,
    DATABASE_UNAVAILABLE,
    FORBIDDEN,
    INTERNAL_ERROR,
    MALFORMED_JSON,
    MALFORMED_REQUEST,
    METHOD_NOT_ALLOWED,
    OVERLOADED,
    RATE_LIMITED,
    REQUEST_HEADER_FIELDS_TOO_LARGE,
    REQUEST_TIMEOUT,
    UNAUTHENTICATED,
    UNSUPPORTED_MEDIA_TYPE,
    VALIDATION_FAILED,
    Problem,
)
from adapters.http.problems.responses import PROBLEM_JSON

EXAMPLE_CURSOR = "AQGh_AYeUnAmr3pOhsvHVKtP-bOmn4uMKi_6bhhx1MqZ"

Responses = dict[int | str, dict[str, Any]]

API_PROBLEMS = (UNAUTHENTICATED, FORBIDDEN, RATE_LIMITED, OVERLOADED, DATABASE_UNAVAILABLE)
"""The problems of every operation that requires an API key."""

_EVERY_RESPONSE = ("X-Request-ID", "Cache-Control", "X-Content-Type-Options")
_HEADERS_OF_STATUS = {
    401: ["WWW-Authenticate"],
    403: ["WWW-Authenticate"],
    405: ["Allow"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}
_EVERY_OPERATION = (
    MALFORMED_REQUEST,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    BODY_TOO_LARGE,
    REQUEST_HEADER_FIELDS_TOO_LARGE,
    INTERNAL_ERROR,
)


def response(
    description: str, *, headers: Sequence[str] = (), example: Json | str | None = None, links: Json | None = None
) -> Json:
    """Return the documentation of a response, whose body has the response model of the route.

    FastAPI drops nulls in examples, so an example with nulls is given by its name in the components.
    """
    found: Json = {"description": description, "headers": _headers(*headers)}
    if isinstance(example, str):
        found["content"] = {"application/json": {"examples": {example: {"$ref": f"#/components/examples/{example}"}}}}
    elif example is not None:
        found["content"] = {"application/json": {"example": example}}
    if links is not None:
        found["links"] = links
    return found


def links(parameter: str, value: str, **operations: str) -> Json:
    """Return links to operations, whose parameter is a value of the response body."""
    given = {parameter: f"$response.body#/{value}"}
    return {
        name: {"operationId": name, "parameters": given, "description": description}
        for name, description in operations.items()
    }


def errors(*expected: Problem, accept: str | None = None) -> Responses:
    """Return the problem responses of an operation, including those of every operation.

    For an operation with a body, `accept` is the header that lists the accepted media types.
    """
    kinds = {*expected, *_EVERY_OPERATION}
    if accept is not None:
        kinds |= {MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE, VALIDATION_FAILED}
    by_status: dict[int, list[Problem]] = {}
    for problem in sorted(kinds, key=lambda one: (one.status, one.code)):
        by_status.setdefault(problem.status, []).append(problem)
    more = {**_HEADERS_OF_STATUS, 415: [accept, "Accept-Encoding"] if accept else []}
    responses: Responses = {
        status: _problem_response(found, more.get(status, [])) for status, found in by_status.items()
    }
    if IDEMPOTENCY_IN_FLIGHT in kinds:  # only this 409 is temporary
        responses[409]["headers"]["Retry-After"] = {"$ref": "#/components/headers/Retry-After-In-Flight"}
    return responses


def _problem_response(found: Sequence[Problem], headers: Sequence[str]) -> Json:
    examples = {problem.code: {"$ref": f"#/components/examples/{problem.code}"} for problem in found}
    return {
        "description": "\n\n".join(f"`{problem.code}`: {problem.default_detail}" for problem in found),
        "headers": _headers(*headers),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *_EVERY_RESPONSE)}


def parameters(*names: str) -> Json:
    """Return references to header parameters, which the service parses itself."""
    return {"parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names]}


def merge_patch(model: str, example: Json) -> Json:
    """Return the documentation of a merge patch body with the schema of this model."""
    content = {"schema": {"$ref": f"#/components/schemas/{model}"}, "example": example}
    return {"requestBody": {"content": dict.fromkeys(MEDIA_TYPES["PATCH"], content)}}
