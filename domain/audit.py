"""Audit entries and erasure receipts: who changed or erased what, and when, without the values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.errors import DomainError, ErrorKind


class ErasureNotFoundError(DomainError):
    """No user with this ID was erased."""

    code = "erasure-not-found"
    kind = ErrorKind.NOT_FOUND
    message = "No user with this ID was erased."


class ActorKind(StrEnum):
    """The kind of principal that changed something."""

    API_KEY = "api_key"
    OPERATOR = "operator"
    PURGE = "purge"


class AuditOperation(StrEnum):
    """A change of an entity."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    REVOKED = "revoked"
    ROTATED = "rotated"


class SubjectKind(StrEnum):
    """The kind of entity that was changed."""

    USER = "user"
    POST = "post"
    API_KEY = "api_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """The record of one change.

    `actor_id` is the ID of the API key, None for other actors. `request_id` is that of the HTTP request, None for
    changes without one and after the erasure of the user. `user_id` is the user whom the change concerns: the subject,
    the author of the post, or the user to which the key is bound. `changed_fields` are sorted names, for updates only.
    A version is None if the entity does not exist before or after the change, or has no versions.
    """

    id: UUID
    created_at: datetime
    actor_kind: ActorKind
    actor_id: UUID | None
    request_id: str | None
    operation: AuditOperation
    subject_kind: SubjectKind
    subject_id: UUID
    user_id: UUID | None
    changed_fields: tuple[str, ...]
    version_before: int | None
    version_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureReceipt:
    """The record of the erasure of one user, without personal data.

    The actor is that of the audit entries. `erased_rows` has the number of rows per table: deleted users, posts and API
    keys, and idempotency records whose responses were erased.
    """

    user_id: UUID
    erased_at: datetime
    actor_kind: ActorKind
    actor_id: UUID | None
    erased_rows: Mapping[str, int]
