"""The problem of each error of the domain or of a port."""

from adapters.http.problems.catalog import DATABASE_UNAVAILABLE, OVERLOADED, PROBLEMS, STATUSES, Problem
from application.ports import CommitResultUnresolvableError, StorageUnavailableError
from domain.errors import DomainError


def problem_for(error: Exception) -> Problem:
    """Return the problem that reports an error of the domain or of a port.

    A domain error whose code is not in the catalog gets a problem from its code, kind and message.
    """
    if isinstance(error, DomainError):
        return PROBLEMS.get(error.code) or _undocumented(error)
    if isinstance(error, StorageUnavailableError | CommitResultUnresolvableError):
        return DATABASE_UNAVAILABLE
    return OVERLOADED


def _undocumented(error: DomainError) -> Problem:
    return Problem(
        code=error.code,
        status=STATUSES[error.kind],
        title=error.code.replace("-", " ").capitalize(),
        default_detail=error.message,
        resolution="",
    )
