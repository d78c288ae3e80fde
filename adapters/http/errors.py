"""Problem responses: how a refusal or a failure becomes one."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from adapters.http.problems import (
    INTERNAL_ERROR,
    MALFORMED_JSON,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    OUTCOME_UNKNOWN,
    VALIDATION_FAILED,
    Problem,
)
from adapters.http.translation import problem_of
from adapters.http.validation import MOST_ERRORS, FieldError, field_errors
from application.access import ForbiddenError, UnauthenticatedError
from application.ports import AcknowledgementLostError, OutcomeUnknownError, TransientError
from domain.errors import DomainError, InvalidValueError

REQUEST_ID = "hexapost.request_id"
"""The key of the ASGI scope under which the request's id is."""

CHALLENGE = 'Bearer realm="hexapost"'
"""What WWW-Authenticate says to who is not known (RFC 6750 section 3)."""

REFUSAL = "hexapost.refusal"
"""The key under which the server leaves a ProblemError for a request that it could not read."""

PROBLEM = "hexapost.problem"
"""The key of the ASGI scope under which the code of the problem is that answers the request."""

PROBLEM_JSON = "application/problem+json"

_BY_STATUS = {400: MALFORMED_JSON, 404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}


class ProblemError(HTTPException):
    """A problem of HTTP itself, found before or beside the use cases. An HTTPException, which FastAPI lets through."""

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
    scope: Scope,
    problem: Problem,
    *,
    detail: str | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response that reports the problem as the answer to this request."""
    scope[PROBLEM] = problem.code
    content = to_json(problem_body(problem, scope[REQUEST_ID], detail=detail, errors=errors))
    more = {"retry-after": str(problem.retry_after)} if problem.retry_after else {}
    return Response(content, problem.status, {**more, **(headers or {})}, PROBLEM_JSON)


def problem_body(
    problem: Problem, request_id: str, *, detail: str | None = None, errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """Return the members of a problem (RFC 9457 section 3.1), ready for JSON."""
    body: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": detail or problem.default_detail,
        "instance": f"urn:hexapost:request:{request_id}",
        "request_id": request_id,
    }
    if errors:
        body["errors"] = errors[:MOST_ERRORS]
    return body


async def _refused(request: Request, error: Exception) -> Response:
    """Return the response to an error of the domain or of a port."""
    problem = problem_of(error)
    return problem_response(
        request.scope, problem, detail=_detail(error), errors=_findings(error), headers=_challenge(error)
    )


def _challenge(error: Exception) -> Mapping[str, str]:
    if isinstance(error, UnauthenticatedError):
        return {"www-authenticate": CHALLENGE}
    if isinstance(error, ForbiddenError):
        scope = f', scope="{error.scope}"' if error.scope else ""
        return {"www-authenticate": f'{CHALLENGE}, error="insufficient_scope"{scope}'}
    return {}


def _detail(error: Exception) -> str | None:
    if isinstance(error, AcknowledgementLostError | OutcomeUnknownError):
        return OUTCOME_UNKNOWN
    # The messages of the domain are safe to show; a value's belongs to the field, a port's is for the log.
    return str(error) if isinstance(error, DomainError) and not isinstance(error, InvalidValueError) else None


def _findings(error: Exception) -> Sequence[FieldError]:
    if not isinstance(error, InvalidValueError):
        return ()
    return [{"pointer": f"/{error.field}", "code": error.rule, "detail": str(error)}]


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    return problem_response(request.scope, VALIDATION_FAILED, errors=field_errors(error.errors()))


async def _http(request: Request, error: HTTPException) -> Response:
    if isinstance(error, ProblemError):
        return problem_response(
            request.scope, error.problem, detail=error.detail, errors=error.errors, headers=error.headers
        )
    problem = _BY_STATUS.get(error.status_code, INTERNAL_ERROR)
    headers = {"allow": _allowed(request)} if problem is METHOD_NOT_ALLOWED else None
    return problem_response(request.scope, problem, headers=headers)


def _allowed(request: Request) -> str:
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    DomainError: _refused,
    TransientError: _refused,
    OutcomeUnknownError: _refused,
    RequestValidationError: _invalid,
    HTTPException: _http,
}
"""What FastAPI calls for an exception of each class, or of one derived from it."""
