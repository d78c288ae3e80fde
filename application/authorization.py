"""Authorization: the principal of a use case and its permissions.

Every use case checks authorization itself, so CLI calls and tests are checked too.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from domain.api_keys import ApiKeyFamily, Scope
from domain.audit import ActorKind
from domain.errors import DomainError, ErrorKind


class UnauthenticatedError(DomainError):
    """The API key is missing, malformed, unknown, wrong, expired or revoked."""

    code = "unauthenticated"
    kind = ErrorKind.UNAUTHENTICATED
    message = "The API key is missing or not valid."


class ForbiddenError(DomainError):
    """The API key does not permit the operation. `scope` is the missing scope, None if no scope would permit it."""

    code = "forbidden"
    kind = ErrorKind.FORBIDDEN
    message = "The API key does not permit this operation."

    def __init__(self, detail: str, scope: Scope | None = None) -> None:
        super().__init__(detail)
        self.scope = scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The principal that calls a use case.

    `api_key_id` is the ID of its API key, which expires at `expires_at`. `api_key_id` is None for the operator. If
    `user_id` is set, the principal is bound to that user: it can read and change only that user and their posts, and
    read published posts of other users. All other entities look as if they did not exist. It cannot change `is_active`.
    `family` is that of its API key. Audit entries have the `kind`, the API key and the `request_id` of a principal.
    """

    api_key_id: UUID | None
    scopes: frozenset[Scope]
    user_id: UUID | None
    expires_at: datetime | None = None
    family: ApiKeyFamily | None = None
    kind: ActorKind = ActorKind.API_KEY
    request_id: str | None = None

    def for_request(self, request_id: str) -> "Principal":
        """Return the principal of one request."""
        return replace(self, request_id=request_id)

    def require_scopes(self, *scopes: Scope) -> None:
        """Raise ForbiddenError if the principal lacks one of these scopes."""
        for scope in scopes:
            if scope not in self.scopes:
                raise ForbiddenError(f"The API key lacks the scope {scope}.", scope)

    def require_not_user_bound(self) -> None:
        """Raise ForbiddenError if the principal is bound to a user."""
        if self.user_id is not None:
            raise ForbiddenError("This operation requires an API key that is not bound to a user.")

    def require_expiry_within_own(self, at: datetime | None) -> None:
        """Raise ForbiddenError if an expiry, where None means never, is later than that of the principal's own key."""
        if self.expires_at is not None and (at is None or at > self.expires_at):
            end = self.expires_at.isoformat().replace("+00:00", "Z")
            raise ForbiddenError(f"expires_at must not be later than the expiry of the API key you use ({end}).")

    def cannot_see(self, user_id: UUID) -> bool:
        """Return True if the principal is bound to a different user."""
        return self.user_id is not None and self.user_id != user_id


SYSTEM_PRINCIPAL = Principal(api_key_id=None, scopes=frozenset(Scope), user_id=None, kind=ActorKind.OPERATOR)
"""The operator, who has all scopes: the command line, and tests of other subjects."""

PURGE_PRINCIPAL = Principal(api_key_id=None, scopes=frozenset(), user_id=None, kind=ActorKind.PURGE)
"""The purge of expired data."""
