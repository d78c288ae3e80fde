"""The catalog of problems (RFC 9457): the source of responses, of their pages, and of the OpenAPI document.

Problems of HTTP itself are defined here. The problem of a domain error is defined beside the routes that report it.
"""

from dataclasses import dataclass
from typing import TypedDict, Unpack

from application.authorization import ForbiddenError, UnauthenticatedError
from domain.errors import DomainError, ErrorKind, FieldValidationError, VersionMismatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A type of problem. By default the title is the code as words.

    `default_detail` is used where no better one is known, `retry_after` is in seconds.
    """

    code: str
    status: int
    default_detail: str
    resolution: str = ""
    title: str = ""
    retry_after: int | None = None

    def __post_init__(self) -> None:
        """Set the default title."""
        object.__setattr__(self, "title", self.title or self.code.replace("-", " ").capitalize())

    @property
    def type(self) -> str:
        """The URI reference that identifies the problem, which is the path of its page."""
        return f"/problems/{self.code}"


PROBLEMS: dict[str, Problem] = {}
"""Every problem by its code."""

STATUSES = {
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.GONE: 410,
    ErrorKind.VERSION_MISMATCH: 412,
    ErrorKind.INVALID: 422,
}
"""The HTTP status of each kind of domain error."""


class _Options(TypedDict, total=False):
    title: str
    retry_after: int


def http_problem(
    status: int, code: str, *, default_detail: str, resolution: str, **options: Unpack[_Options]
) -> Problem:
    """Add a problem to the catalog. Raises ValueError for a known code."""
    if code in PROBLEMS:
        raise ValueError(f"problem {code} is defined twice")
    problem = Problem(code=code, status=status, default_detail=default_detail, resolution=resolution, **options)
    return PROBLEMS.setdefault(code, problem)


def domain_problem(error: type[DomainError], *, resolution: str, **options: Unpack[_Options]) -> Problem:
    """Add the problem of a domain error to the catalog: its code, its message, and the status of its kind."""
    return http_problem(
        STATUSES[error.kind], error.code, default_detail=error.message, resolution=resolution, **options
    )


MALFORMED_REQUEST = http_problem(
    400,
    "malformed-request",
    default_detail="The request is not valid HTTP/1.1.",
    resolution="Send HTTP/1.1 (RFC 9112) with one Host header. Send a body with Content-Length or with "
    "Transfer-Encoding: chunked, not both. The connection is closed.",
)
MALFORMED_JSON = http_problem(
    400,
    "malformed-json",
    title="Malformed JSON",
    default_detail="The body is not valid JSON.",
    resolution="Send one JSON value in UTF-8 (RFC 8259) without a byte order mark. Names in an object must be unique, "
    "numbers finite, and surrogate escapes paired. The default limit of nesting is 32 levels.",
)
UNAUTHENTICATED = domain_problem(
    UnauthenticatedError,
    resolution="Send one API key, in Authorization: Bearer <key> or in X-API-Key. Revoked, expired and mistyped keys "
    "get the same response. Ask the operator for a new key.",
)
FORBIDDEN = domain_problem(
    ForbiddenError,
    resolution="Use an API key with the scope that detail names. Some operations require a key that is not bound to a "
    "user. Do not retry with the same key.",
)
NOT_FOUND = http_problem(
    404,
    "not-found",
    default_detail="No resource at this path.",
    resolution="Compare the path with the documentation at /docs.",
)
METHOD_NOT_ALLOWED = http_problem(
    405,
    "method-not-allowed",
    default_detail="Method not allowed for this path.",
    resolution="Use one of the methods in the Allow header.",
)
REQUEST_TIMEOUT = http_problem(
    408,
    "request-timeout",
    default_detail="The request did not arrive in time.",
    resolution="Retry on a new connection, and send the request without a pause.",
)
VERSION_MISMATCH = domain_problem(
    VersionMismatchError,
    resolution="Fetch the resource again, reapply your change, and retry with its new ETag in If-Match.",
)
BODY_TOO_LARGE = http_problem(
    413,
    "body-too-large",
    default_detail="The request body is too large.",
    resolution="Send a smaller body. The documentation at /docs has the maximum length of each field.",
)
UNSUPPORTED_MEDIA_TYPE = http_problem(
    415,
    "unsupported-media-type",
    default_detail="The operation does not accept this media type.",
    resolution="Set Content-Type to a type in the Accept-Post or Accept-Patch header. The charset must be utf-8. "
    "Do not compress the body.",
)
VALIDATION_FAILED = domain_problem(
    FieldValidationError,
    resolution="Correct each entry of errors. pointer is a JSON Pointer (RFC 6901) into the body. parameter is the "
    "name of a path parameter, a query parameter or a header. code is the violated rule.",
)
RATE_LIMITED = http_problem(
    429,
    "rate-limited",
    title="Too many requests",
    default_detail="Rate limit exceeded for this API key.",
    resolution="Wait for the number of seconds in Retry-After. The RateLimit and RateLimit-Policy headers of each "
    "response contain the remaining and the total quota.",
    retry_after=1,
)
REQUEST_HEADER_FIELDS_TOO_LARGE = http_problem(
    431,
    "request-header-fields-too-large",
    default_detail="The request line and headers are too large.",
    resolution="Send fewer or shorter headers. The service needs no cookies.",
)
INTERNAL_ERROR = http_problem(
    500,
    "internal-error",
    default_detail="An unexpected server error occurred.",
    resolution="Report the request_id to the operator. A write may or may not be stored: check the resource before "
    "you retry.",
)
OVERLOADED = http_problem(
    503,
    "overloaded",
    default_detail="The service is overloaded.",
    resolution="Retry after the number of seconds in Retry-After, then with growing delays.",
    retry_after=1,
)
DATABASE_UNAVAILABLE = http_problem(
    503,
    "database-unavailable",
    default_detail="The database is unavailable.",
    resolution="Retry after the number of seconds in Retry-After. Check first if a write is stored, or retry with the "
    "same Idempotency-Key.",
    retry_after=5,
)

COMMIT_RESULT_UNKNOWN = (
    "The database failed before the write was confirmed. The change may or may not be stored. Check the resource "
    "before you retry, or retry with the same Idempotency-Key."
)
"""The detail of a problem if the result of a write is unknown."""

DEADLINE = "deadline"

REJECTIONS = frozenset(
    problem.code
    for problem in (
        MALFORMED_REQUEST,
        UNAUTHENTICATED,
        FORBIDDEN,
        REQUEST_TIMEOUT,
        BODY_TOO_LARGE,
        RATE_LIMITED,
        REQUEST_HEADER_FIELDS_TOO_LARGE,
        OVERLOADED,
        DATABASE_UNAVAILABLE,
    )
) | {DEADLINE}
"""The reasons of rejections in the metrics: problem codes, and the request deadline."""
