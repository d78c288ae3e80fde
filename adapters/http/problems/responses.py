"""Problem responses (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from adapters.http.problems.catalog import Problem
from adapters.http.problems.validation import MAX_ERRORS, FieldError

PROBLEM_JSON = "application/problem+json"


class ReportsProblem(Protocol):
    """The part of a request context that a problem response uses."""

    request_id: str
    problem_code: str | None


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


def problem_response(
    context: ReportsProblem,
    problem: Problem,
    *,
    detail: str | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response that reports a problem, and record its code in the request context."""
    context.problem_code = problem.code
    content = to_json(problem_body(problem, context.request_id, detail=detail, errors=errors))
    retry_after = {"retry-after": str(problem.retry_after)} if problem.retry_after else {}
    return Response(content, problem.status, {**retry_after, **(headers or {})}, PROBLEM_JSON)


def problem_body(
    problem: Problem, request_id: str, *, detail: str | None = None, errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """Return the members of a problem document (RFC 9457 section 3.1), ready for JSON."""
    body: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": detail or problem.default_detail,
        "instance": f"urn:hexapost:request:{request_id}",
        "request_id": request_id,
    }
    if errors:
        body["errors"] = errors[:MAX_ERRORS]
    return body
