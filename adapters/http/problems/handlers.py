"""Exception handlers: each error becomes a problem response."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from adapters.exception_summary import database_fields
from adapters.http.problems import catalog
from adapters.http.problems.catalog import Problem
from adapters.http.problems.responses import ERROR_CODES, SAFE_NAME, FieldError, ProblemError, problem_response
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

_RULES = {
    "missing": ("required", "Required."),
    "extra_forbidden": ("unknown", "Unknown field."),
    "string_type": ("invalid_type", "Must be a string."),
    "bool_type": ("invalid_type", "Must be true or false."),
    "dict_type": ("invalid_type", "Must be an object."),
    "string_too_long": ("too_long", "Must be at most {max_length} characters long."),
}
_BY_STATUS = {400: catalog.MALFORMED_JSON, 404: catalog.NOT_FOUND, 405: catalog.METHOD_NOT_ALLOWED}


async def _handle_domain_error(request: Request, error: DomainError) -> Response:
    """Report a domain error. If its code is not in the catalog, the problem has its code, kind and message."""
    problem = catalog.PROBLEMS.get(error.code) or Problem(
        code=error.code, status=catalog.STATUSES[error.kind], default_detail=error.message
    )
    detail: str | None = str(error)  # safe to show
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = {}
    if isinstance(error, FieldValidationError):
        errors, detail = [{"pointer": f"/{error.field}", "code": error.rule, "detail": str(error)}], None
    elif isinstance(error, UnauthenticatedError):
        headers = {"www-authenticate": CHALLENGE}
    elif isinstance(error, ForbiddenError):
        scope = f', scope="{error.scope}"' if error.scope else ""
        headers = {"www-authenticate": f'{CHALLENGE}, error="insufficient_scope"{scope}'}
    found = ProblemError(problem, detail=detail, errors=errors, headers=headers)
    return problem_response(request.state.request_context, found)


async def _handle_storage_error(request: Request, error: Exception) -> Response:
    is_unknown = isinstance(error, CommitResultUnknownError | CommitResultUnresolvableError)
    is_unavailable = is_unknown or isinstance(error, StorageUnavailableError)
    problem = catalog.DATABASE_UNAVAILABLE if is_unavailable else catalog.OVERLOADED
    detail = catalog.COMMIT_RESULT_UNKNOWN if is_unknown else None
    request.state.request_context.database_fields = database_fields(error)
    return problem_response(request.state.request_context, ProblemError(problem, detail=detail))


async def _handle_validation_error(request: Request, error: RequestValidationError) -> Response:
    errors = [_field_error(finding) for finding in error.errors()]
    return problem_response(request.state.request_context, ProblemError(catalog.VALIDATION_FAILED, errors=errors))


def _field_error(finding: Mapping[str, Any]) -> FieldError:
    """Return the validation error for an error of pydantic."""
    kind, context = finding["type"], finding.get("ctx", {})
    if kind in ERROR_CODES:  # raised by our validators
        code, detail = kind, finding["msg"]
    elif isinstance(error := context.get("error"), FieldValidationError):
        code, detail = error.rule, str(error)
    else:
        code, detail = _RULES.get(kind, ("invalid_format", "Invalid value."))
        detail = detail.format_map(context)
    place, *path = finding["loc"]
    if place != "body":
        return {"parameter": str(path[0]), "code": code, "detail": detail}
    if code == "unknown" and not SAFE_NAME.fullmatch(str(path[-1])):
        path.pop()
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return {"pointer": pointer, "code": code, "detail": detail}


async def _handle_http_exception(request: Request, error: HTTPException) -> Response:
    if not isinstance(error, ProblemError):
        problem = _BY_STATUS.get(error.status_code, catalog.INTERNAL_ERROR)
        headers = {"allow": _allowed_methods(request)} if problem is catalog.METHOD_NOT_ALLOWED else None
        error = ProblemError(problem, headers=headers)
    return problem_response(request.state.request_context, error)


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
    TransientStorageError: _handle_storage_error,
    CommitResultUnresolvableError: _handle_storage_error,
    RequestValidationError: _handle_validation_error,
    HTTPException: _handle_http_exception,
}
"""The handlers by exception class, which include its subclasses."""
