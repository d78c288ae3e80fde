"""Problem responses (RFC 9457), with the validation errors of fields and parameters. No text contains input."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from pydantic import Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from typing_extensions import TypedDict

from adapters.http.problems.catalog import VALIDATION_FAILED, Problem

if TYPE_CHECKING:
    from adapters.http.middleware.request_context import RequestContext

PROBLEM_JSON = "application/problem+json"
REQUEST_ID_PATTERN = "^[A-Za-z0-9._-]{1,128}$"
EXAMPLE_REQUEST_ID = "0198a3c47f2b7d31a6f0c2b9e4d81357"
ERROR_CODES = {
    "required": "The required field is missing.",
    "unknown": "The field or parameter is unknown.",
    "duplicate": "The value occurs more than once.",
    "invalid_type": "The JSON type is wrong.",
    "too_long": "The text is too long.",
    "out_of_range": "The number, or the number of items, is too small or too large.",
    "invalid_format": "The format is invalid.",
    "invalid_choice": "The value is not one of the allowed values.",
    "not_found": "The referenced entity does not exist.",
    "invalid_cursor": "The cursor was not issued for this list with these filters.",
}
"""The codes of validation errors, and their meanings."""


def text_field(description: str, max_length: int, pattern: str | None = None, **schema: Any) -> Any:
    """Return the JSON schema of a text field in a problem document."""
    return Field(description=description, max_length=max_length, pattern=pattern, json_schema_extra=schema)


class FieldError(TypedDict):
    """A validation error of one field of the body or of one parameter."""

    pointer: NotRequired[
        Annotated[str, text_field("JSON Pointer to the invalid field (RFC 6901).", 200, format="json-pointer")]
    ]
    parameter: NotRequired[
        Annotated[str, text_field("Name of the path parameter, query parameter or header.", 64, "^[A-Za-z0-9_-]+$")]
    ]
    code: Annotated[
        str, text_field(f"Violated rule: {', '.join(f'`{code}`' for code in ERROR_CODES)}.", 40, "^[a-z_]+$")
    ]
    detail: Annotated[str, text_field("Description of the rule.", 500)]


SAFE_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
"""A name from the request that is safe to echo."""

MAX_ERRORS = 32
"""The maximum number of validation errors in one response."""

_EXAMPLE_ERRORS: Mapping[str, list[FieldError]] = {
    "validation-failed": [
        {"pointer": "/email", "code": "invalid_format", "detail": "Must be an e-mail address such as ada@example.org."},
        {"parameter": "limit", "code": "out_of_range", "detail": "Must be an integer from 1 to 100."},
    ],
    "author-not-found": [{"pointer": "/author_id", "code": "not_found", "detail": "No user has this ID."}],
}


class ProblemBody(TypedDict):
    """A problem document (RFC 9457)."""

    type: Annotated[
        str,
        text_field("Problem type, and path of its documentation.", 300, "/problems/[a-z-]+$", format="uri-reference"),
    ]
    title: Annotated[str, text_field("Short name of the problem type.", 100)]
    status: Annotated[
        int, Field(ge=400, le=599, json_schema_extra={"format": "int32"}, description="HTTP status code.")
    ]
    detail: Annotated[str, text_field("Explanation of this occurrence.", 500)]
    instance: Annotated[str, text_field("URN of this occurrence; contains the request ID.", 200, format="uri")]
    request_id: Annotated[str, text_field("The request ID, as in X-Request-ID.", 128, REQUEST_ID_PATTERN, minLength=1)]
    errors: NotRequired[
        Annotated[Sequence[FieldError], Field(max_length=MAX_ERRORS, description="Invalid fields and parameters.")]
    ]


class ProblemError(HTTPException):
    """A problem of HTTP itself, outside the use cases. FastAPI passes an HTTPException through."""

    def __init__(
        self,
        problem: Problem,
        *,
        detail: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(problem.status, detail or problem.default_detail, headers)
        self.problem = problem
        self.errors = errors


def invalid_parameter(name: str, code: str, detail: str) -> ProblemError:
    """Return the error for a parameter or header that breaks the rule with this code."""
    return ProblemError(VALIDATION_FAILED, errors=[{"parameter": name, "code": code, "detail": detail}])


def problem_response(context: "RequestContext", error: ProblemError) -> Response:
    """Return the response that reports a problem, and record its code in the request context."""
    problem = error.problem
    context.problem_code = problem.code
    retry_after = {"retry-after": str(problem.retry_after)} if problem.retry_after else {}
    headers = {**retry_after, **(error.headers or {})}
    return Response(
        to_json(problem_body(error, context.request_id, context.root_path)), problem.status, headers, PROBLEM_JSON
    )


def problem_body(error: ProblemError, request_id: str, root_path: str) -> ProblemBody:
    """Return the members of a problem document (RFC 9457 section 3.1), ready for JSON."""
    body: ProblemBody = {
        "type": root_path + error.problem.type,
        "title": error.problem.title,
        "status": error.problem.status,
        "detail": error.detail,
        "instance": f"urn:hexapost:request:{request_id}",
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = error.errors[:MAX_ERRORS]
    return body


def example_problem(problem: Problem, root_path: str) -> ProblemBody:
    """Return an example of a problem, for its page and the OpenAPI document."""
    error = ProblemError(problem, errors=_EXAMPLE_ERRORS.get(problem.code, ()))
    return problem_body(error, EXAMPLE_REQUEST_ID, root_path)
