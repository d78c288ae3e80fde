"""Exception handlers: each error becomes a problem response."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from adapters.http.problems.catalog import (
    COMMIT_RESULT_UNKNOWN,
    DATABASE_UNAVAILABLE,
    INTERNAL_ERROR,
    MALFORMED_JSON,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    OVERLOADED,
    PROBLEMS,
    STATUSES,
    VALIDATION_FAILED,
    Problem,
    default_title,
)
from adapters.http.problems.responses import ProblemError, problem_response
from adapters.http.problems.validation import FieldError, field_errors
from application.authorization import ForbiddenError, UnauthenticatedError
from application.ports import (
    CommitResultUnknownError,
    CommitResultUnresolvableError,
    StorageUnavailableError,
    TransientStorageError,
)
from domain.errors import DomainError, FieldValidationError

CHALLENGE = 'Bearer realm="hexapost"'
"""The authentication challenge (RFC 6750 section 3)."""

_BY_STATUS = {400: MALFORMED_JSON, 404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}


def problem_for(error: Exception) -> Problem:
    """Return the problem that reports an error of the domain or of a port.

    A domain error whose code is not in the catalog gets a problem from its code, kind and message.
    """
    if isinstance(error, DomainError):
        return PROBLEMS.get(error.code) or Problem(
            code=error.code,
            status=STATUSES[error.kind],
            title=default_title(error.code),
            default_detail=error.message,
            resolution="",
        )
    if isinstance(error, StorageUnavailableError | CommitResultUnresolvableError):
        return DATABASE_UNAVAILABLE
    return OVERLOADED


async def _handle_domain_error(request: Request, error: Exception) -> Response:
    problem = problem_for(error)
    return problem_response(
        request.state.request_context,
        problem,
        detail=_detail(error),
        errors=_field_errors(error),
        headers=_challenge(error),
    )


def _challenge(error: Exception) -> Mapping[str, str]:
    if isinstance(error, UnauthenticatedError):
        return {"www-authenticate": CHALLENGE}
    if isinstance(error, ForbiddenError):
        scope = f', scope="{error.scope}"' if error.scope else ""
        return {"www-authenticate": f'{CHALLENGE}, error="insufficient_scope"{scope}'}
    return {}


def _detail(error: Exception) -> str | None:
    if isinstance(error, CommitResultUnknownError | CommitResultUnresolvableError):
        return COMMIT_RESULT_UNKNOWN
    # Domain messages are safe to show. The message of a field belongs in `errors`; port errors have no public message.
    return str(error) if isinstance(error, DomainError) and not isinstance(error, FieldValidationError) else None


def _field_errors(error: Exception) -> Sequence[FieldError]:
    if not isinstance(error, FieldValidationError):
        return ()
    return [{"pointer": f"/{error.field}", "code": error.rule, "detail": str(error)}]


async def _handle_validation_error(request: Request, error: RequestValidationError) -> Response:
    return problem_response(request.state.request_context, VALIDATION_FAILED, errors=field_errors(error.errors()))


async def _handle_http_exception(request: Request, error: HTTPException) -> Response:
    if isinstance(error, ProblemError):
        return problem_response(
            request.state.request_context,
            error.problem,
            detail=error.detail,
            errors=error.errors,
            headers=error.headers,
        )
    problem = _BY_STATUS.get(error.status_code, INTERNAL_ERROR)
    headers = {"allow": _allowed_methods(request)} if problem is METHOD_NOT_ALLOWED else None
    return problem_response(request.state.request_context, problem, headers=headers)


def _allowed_methods(request: Request) -> str:
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    DomainError: _handle_domain_error,
    TransientStorageError: _handle_domain_error,
    CommitResultUnresolvableError: _handle_domain_error,
    RequestValidationError: _handle_validation_error,
    HTTPException: _handle_http_exception,
}
"""The handlers by exception class, which include its subclasses."""
