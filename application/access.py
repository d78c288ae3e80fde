"""Who calls a use case, and what they may do.

Every use case about users, posts and keys asks, so that the command line and tests are asked, too.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.errors import DomainError, ErrorKind
from domain.keys import Scope


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
class Caller:
    """Who calls a use case.

    `key_id` is the API key they came with, which ends at `expires_at`; None stands for whoever runs the service. With
    `user_id` they see and change that user and that user's posts, see what others have published, and nothing else is
    there for them; whether that user is active is not theirs to change.
    """

    key_id: UUID | None
    scopes: frozenset[Scope]
    user_id: UUID | None
    expires_at: datetime | None = None

    def require(self, *scopes: Scope) -> None:
        """Raise ForbiddenError unless the caller has these scopes."""
        for scope in scopes:
            if scope not in self.scopes:
                raise ForbiddenError(f"The API key lacks the scope {scope}.", scope)

    def require_unbound(self) -> None:
        """Raise ForbiddenError when the caller acts for one user only."""
        if self.user_id is not None:
            raise ForbiddenError("This operation requires an API key that is not bound to a user.")

    def require_end(self, at: datetime | None) -> None:
        """Raise ForbiddenError when something that ends then, or never, would outlast the caller's own key."""
        if self.expires_at is not None and (at is None or at > self.expires_at):
            end = self.expires_at.isoformat().replace("+00:00", "Z")
            raise ForbiddenError(f"expires_at must not be later than the expiry of the API key you use ({end}).")

    def is_kept_from(self, user_id: UUID) -> bool:
        """Tell whether this user, and what only they can see, is not there for the caller."""
        return self.user_id is not None and self.user_id != user_id


OPERATOR = Caller(key_id=None, scopes=frozenset(Scope), user_id=None)
"""Whoever runs the service: the command line, and tests that are not about access."""
