"""Which problem an error of the domain or of a port is to the outside."""

from adapters.http.problems import (
    API_KEY_NOT_FOUND,
    AUTHOR_INACTIVE,
    AUTHOR_NOT_FOUND,
    DATABASE_UNAVAILABLE,
    EMAIL_ALREADY_REGISTERED,
    FORBIDDEN,
    IDEMPOTENCY_IN_FLIGHT,
    IDEMPOTENCY_KEY_REUSED,
    INVALID_TRANSITION,
    NOT_FOUND,
    OUTCOME_ERASED,
    OVERLOADED,
    POST_NOT_FOUND,
    UNAUTHENTICATED,
    USER_NOT_FOUND,
    VALIDATION_FAILED,
    VERSION_MISMATCH,
    Problem,
)
from application.access import ForbiddenError, UnauthenticatedError
from application.idempotency import IdempotencyInFlightError, IdempotencyKeyReusedError, OutcomeErasedError
from application.ports import (
    OutcomeUnknownError,
    StorageUnavailableError,
    TransientError,
)
from domain.errors import InvalidValueError, NotFoundError, VersionMismatchError
from domain.keys import ApiKeyNotFoundError
from domain.posts import AuthorInactiveError, AuthorNotFoundError, InvalidTransitionError, PostNotFoundError
from domain.users import EmailAlreadyRegisteredError, UserNotFoundError

_KINDS: dict[type[Exception], Problem] = {
    NotFoundError: NOT_FOUND,
    UnauthenticatedError: UNAUTHENTICATED,
    ForbiddenError: FORBIDDEN,
    UserNotFoundError: USER_NOT_FOUND,
    PostNotFoundError: POST_NOT_FOUND,
    ApiKeyNotFoundError: API_KEY_NOT_FOUND,
    OutcomeErasedError: OUTCOME_ERASED,
    IdempotencyInFlightError: IDEMPOTENCY_IN_FLIGHT,
    IdempotencyKeyReusedError: IDEMPOTENCY_KEY_REUSED,
    EmailAlreadyRegisteredError: EMAIL_ALREADY_REGISTERED,
    AuthorInactiveError: AUTHOR_INACTIVE,
    InvalidTransitionError: INVALID_TRANSITION,
    VersionMismatchError: VERSION_MISMATCH,
    InvalidValueError: VALIDATION_FAILED,
    AuthorNotFoundError: AUTHOR_NOT_FOUND,
    TransientError: OVERLOADED,
    StorageUnavailableError: DATABASE_UNAVAILABLE,
    OutcomeUnknownError: DATABASE_UNAVAILABLE,
}


def problem_of(error: Exception) -> Problem:
    """Return the problem that the error, or else the nearest of its base classes, is. Raises it when it is none."""
    for kind in type(error).__mro__:
        if kind in _KINDS:
            return _KINDS[kind]
    raise error
