"""The problems this service reports (RFC 9457): one table for the responses, their pages and the OpenAPI document."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A kind of problem; `meaning` is the detail of a problem that has no other, `retry_after` is in seconds."""

    code: str
    status: int
    title: str
    meaning: str
    remedy: str
    retry_after: int | None = None

    @property
    def type(self) -> str:
        """The address of its page, which is its identifier."""
        return f"/problems/{self.code}"


MALFORMED_REQUEST = Problem(
    code="malformed-request",
    status=400,
    title="Malformed request",
    meaning="The request is not HTTP/1.1 as this service reads it.",
    remedy="Send HTTP/1.1 (RFC 9112): one Host header, and a body with either Content-Length or Transfer-Encoding: "
    "chunked. The connection is closed, since nobody can tell where the next request would begin.",
)
MALFORMED_JSON = Problem(
    code="malformed-json",
    status=400,
    title="Malformed JSON",
    meaning="The body is not the JSON that this service reads.",
    remedy="Send one JSON value in UTF-8 (RFC 8259) without a byte order mark. Beyond that, names in an object are "
    "unique, numbers are finite, escapes do not hold half a surrogate pair, and nesting is not too deep: 32 levels, "
    "unless those who run the service chose another limit.",
)
UNAUTHENTICATED = Problem(
    code="unauthenticated",
    status=401,
    title="Not authenticated",
    meaning="The request carries no API key, or none that is valid.",
    remedy="Send one key, in Authorization: Bearer <key> or in X-API-Key. A key that was mistyped or revoked, or has "
    "expired, is answered like none at all; ask those who run the service for a new one.",
)
FORBIDDEN = Problem(
    code="forbidden",
    status=403,
    title="Forbidden",
    meaning="The API key does not allow this.",
    remedy="Use a key with the scope that detail names, or, for what is not one user's to do, a key that is bound to "
    "no user. Repeating the request does not help.",
)
NOT_FOUND = Problem(
    code="not-found",
    status=404,
    title="Not found",
    meaning="There is nothing at this address.",
    remedy="Compare the path with the documentation at /docs.",
)
USER_NOT_FOUND = Problem(
    code="user-not-found",
    status=404,
    title="User not found",
    meaning="There is no user with this id.",
    remedy="Check the id. The user may have been erased since you saw it.",
)
POST_NOT_FOUND = Problem(
    code="post-not-found",
    status=404,
    title="Post not found",
    meaning="There is no post with this id.",
    remedy="Check the id. The post, or its author with all posts, may have been removed since you saw it.",
)
API_KEY_NOT_FOUND = Problem(
    code="api-key-not-found",
    status=404,
    title="API key not found",
    meaning="There is no API key with this id.",
    remedy="Check the id; it is the part of the key between hexa_ and the next _, written as a UUID.",
)
METHOD_NOT_ALLOWED = Problem(
    code="method-not-allowed",
    status=405,
    title="Method not allowed",
    meaning="This address does not know this method.",
    remedy="Use one of the methods that the header Allow names.",
)
REQUEST_TIMEOUT = Problem(
    code="request-timeout",
    status=408,
    title="Request too slow",
    meaning="The request did not arrive in time.",
    remedy="Repeat the request on a new connection, and send all of it without a pause.",
)
EMAIL_ALREADY_REGISTERED = Problem(
    code="email-already-registered",
    status=409,
    title="E-mail address already registered",
    meaning="Another user is registered with this e-mail address.",
    remedy="Find that user with GET /api/v1/users?email=…, or use another address. Spellings that reach the same "
    "mailbox, such as in capitals, count as the same address.",
)
AUTHOR_INACTIVE = Problem(
    code="author-inactive",
    status=409,
    title="Author inactive",
    meaning="The author is inactive and can neither write nor publish posts.",
    remedy='Make the user active first: PATCH /api/v1/users/{user_id} with {"is_active": true}.',
)
INVALID_TRANSITION = Problem(
    code="invalid-transition",
    status=409,
    title="Status cannot follow",
    meaning="A post cannot go from its status to the one asked for.",
    remedy="A draft can be published, a published post archived, an archived post published again. Nothing becomes a "
    "draft again.",
)
IDEMPOTENCY_IN_FLIGHT = Problem(
    code="idempotency-in-flight",
    status=409,
    title="Request still being worked on",
    meaning="A request with this idempotency key is still being worked on.",
    remedy="Wait a moment and repeat the same request with the same key.",
    retry_after=1,
)
OUTCOME_ERASED = Problem(
    code="outcome-erased",
    status=410,
    title="Outcome erased",
    meaning="The request was carried out before, and what came of it was erased since.",
    remedy="Do not repeat it. To make anew what was erased, send a new request with a new idempotency key.",
)
VERSION_MISMATCH = Problem(
    code="version-mismatch",
    status=412,
    title="Version mismatch",
    meaning="It was changed since you read it. Read it again and repeat your change.",
    remedy="Read it again, apply your change to what you find, and send its new ETag in If-Match.",
)
BODY_TOO_LARGE = Problem(
    code="body-too-large",
    status=413,
    title="Body too large",
    meaning="The body is larger than this service accepts.",
    remedy="Send less. Every field's longest value is in the documentation at /docs.",
)
UNSUPPORTED_MEDIA_TYPE = Problem(
    code="unsupported-media-type",
    status=415,
    title="Unsupported media type",
    meaning="The body is not of a media type that this operation reads.",
    remedy="Set Content-Type to a type that the header Accept-Post or Accept-Patch names, with no parameter other than "
    "charset=utf-8, and leave the body uncompressed.",
)
VALIDATION_FAILED = Problem(
    code="validation-failed",
    status=422,
    title="Validation failed",
    meaning="The request breaks a rule of the fields or parameters that errors names.",
    remedy="Correct what errors names: pointer is a JSON pointer (RFC 6901) into the body, parameter names a path "
    "parameter, a query parameter or a header, code the rule that is broken.",
)
AUTHOR_NOT_FOUND = Problem(
    code="author-not-found",
    status=422,
    title="Author not found",
    meaning="The user named as the author does not exist.",
    remedy="Check author_id. The user may have been erased since you saw it.",
)
IDEMPOTENCY_KEY_REUSED = Problem(
    code="idempotency-key-reused",
    status=422,
    title="Idempotency key reused",
    meaning="This idempotency key was used before, with another request.",
    remedy="Use a new key for a new request; repeat a request with its key only unchanged.",
)
RATE_LIMITED = Problem(
    code="rate-limited",
    status=429,
    title="Too many requests",
    meaning="The API key has made more requests than it may in this time.",
    remedy="Wait for the seconds that Retry-After names; RateLimit and RateLimit-Policy say in every response how much "
    "is left, of how much, and until when.",
    retry_after=1,
)
REQUEST_HEADER_FIELDS_TOO_LARGE = Problem(
    code="request-header-fields-too-large",
    status=431,
    title="Request header fields too large",
    meaning="The request line and the headers are larger, or more, than this service accepts.",
    remedy="Send fewer and shorter headers: cookies and what proxies add are not needed here.",
)
INTERNAL_ERROR = Problem(
    code="internal-error",
    status=500,
    title="Internal error",
    meaning="The service failed in a way it does not know. The fault is on its side.",
    remedy="Report the request_id to those who run the service. What was asked for may or may not have been done: read "
    "it again before you repeat it.",
)
OVERLOADED = Problem(
    code="overloaded",
    status=503,
    title="Overloaded",
    meaning="The service has too much to do to answer this request now.",
    remedy="Repeat the request after the seconds that Retry-After names, then less and less often.",
    retry_after=1,
)
DATABASE_UNAVAILABLE = Problem(
    code="database-unavailable",
    status=503,
    title="Database unavailable",
    meaning="The service cannot reach its database.",
    remedy="Repeat the request after the seconds that Retry-After names. If it was a write, read first whether it was "
    "done.",
    retry_after=5,
)

OUTCOME_UNKNOWN = "The request may have been carried out: read first whether it was."
"""What is said where nobody knows it."""

PROBLEMS = {found.code: found for found in list(globals().values()) if isinstance(found, Problem)}
"""All problems by code, in the order of their status."""

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
"""Why requests are turned away, whatever they ask for: codes of problems, and the time that is up."""
