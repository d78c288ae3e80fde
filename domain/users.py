"""Users and their rules."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypedDict, Unpack
from uuid import UUID

from domain.email import validate_email
from domain.errors import DomainError, ErrorKind
from domain.text_rules import normalize_text

MAX_FULL_NAME_LENGTH = 200
"""Code points."""


class UserNotFoundError(DomainError):
    """No user has this ID."""

    code = "user-not-found"
    kind = ErrorKind.NOT_FOUND
    message = "No user has this ID."


class EmailAlreadyRegisteredError(DomainError):
    """A different user has this e-mail address, possibly in a different spelling."""

    code = "email-already-registered"
    kind = ErrorKind.CONFLICT
    message = "A different user has this e-mail address."


class OptionalUserFields(TypedDict, total=False):
    """The fields of a user that a caller can omit."""

    full_name: str | None
    is_active: bool


class NewUser(OptionalUserFields):
    """The fields from which a user is created. By default `full_name` is None and `is_active` is True."""

    email: str


class UserChanges(OptionalUserFields, total=False):
    """The fields of a user that an update can change. Omitted fields keep their values."""

    email: str


normalize_full_name = partial(normalize_text, field="full_name", max_length=MAX_FULL_NAME_LENGTH)
"""Return the trimmed name. Raises FieldValidationError unless it is one line of 1-200 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a service that writes posts.

    `version` starts at 1 and increases by 1 with each change. Times are aware, in UTC.
    """

    id: UUID
    email: str
    full_name: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def create(cls, *, id: UUID, now: datetime, **fields: Unpack[NewUser]) -> "User":
        """Return a new user. Raises FieldValidationError for an invalid address or name."""
        full_name = fields.get("full_name")
        return cls(
            id=id,
            email=validate_email(fields["email"]),
            full_name=None if full_name is None else normalize_full_name(full_name),
            is_active=fields.get("is_active", True),
            created_at=now,
            updated_at=now,
            version=1,
        )

    def update(self, *, now: datetime, **changes: Unpack[UserChanges]) -> "User":
        """Return the next version of the user, or the user itself if the changes have no effect.

        Raises FieldValidationError for an invalid address or name.
        """
        if "email" in changes:
            changes["email"] = validate_email(changes["email"])
        if (full_name := changes.get("full_name")) is not None:
            changes["full_name"] = normalize_full_name(full_name)
        after = replace(self, **changes)
        if after == self:
            return self
        return replace(after, updated_at=max(now, self.updated_at), version=self.version + 1)
