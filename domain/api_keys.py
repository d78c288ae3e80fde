"""API keys and their rules."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import NotRequired, TypedDict, Unpack
from uuid import UUID

from domain.errors import DomainError, ErrorKind, FieldValidationError, ReferenceNotFoundError
from domain.text_rules import normalize_text

MAX_API_KEY_NAME_LENGTH = 100
"""Code points."""


class Scope(StrEnum):
    """A permission of an API key."""

    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    USERS_EXPORT = "users:export"
    POSTS_READ = "posts:read"
    POSTS_WRITE = "posts:write"
    KEYS_ADMIN = "keys:admin"
    METRICS_READ = "metrics:read"
    AUDIT_READ = "audit:read"


normalize_api_key_name = partial(normalize_text, field="name", max_length=MAX_API_KEY_NAME_LENGTH)
"""Return the trimmed name. Raises FieldValidationError unless it is one line of 1-100 characters."""

USER_SCOPES = frozenset({Scope.USERS_READ, Scope.USERS_WRITE, Scope.USERS_EXPORT, Scope.POSTS_READ, Scope.POSTS_WRITE})
"""The scopes of a key that is bound to a user. All other scopes affect more than one user."""


class ApiKeyNotFoundError(DomainError):
    """No API key has this ID."""

    code = "api-key-not-found"
    kind = ErrorKind.NOT_FOUND
    message = "No API key has this ID."


class ApiKeyUserNotFoundError(ReferenceNotFoundError):
    """The user to which an API key is bound does not exist."""

    def __init__(self) -> None:
        super().__init__("user_id", "No user has this ID.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyHash:
    """The stored hash of an API key, and the version of the pepper that keyed it."""

    pepper: int
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyFamily:
    """A key and its successors by rotation, which share their idempotency records.

    `id` is the ID of the first key. `secret` keys the records.
    """

    id: UUID
    secret: bytes = field(repr=False)


class NewApiKey(TypedDict):
    """The fields from which an API key is created. By default it is not bound to a user and does not expire."""

    name: str
    scopes: Iterable[Scope]
    user_id: NotRequired[UUID | None]
    expires_at: NotRequired[datetime | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key without its secret.

    If `user_id` is set, the key is bound to that user. `family_id` and `family_secret` are those of its `ApiKeyFamily`,
    the secret in encrypted form. Keys of releases without families have None. Times are aware, in UTC.
    `last_used_at` is accurate to about a minute.
    """

    id: UUID
    name: str
    scopes: frozenset[Scope]
    user_id: UUID | None
    secret_hash: ApiKeyHash
    family_id: UUID | None
    family_secret: bytes | None = field(repr=False)
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def create(
        cls,
        *,
        id: UUID,
        secret_hash: ApiKeyHash,
        family_id: UUID,
        family_secret: bytes,
        created_at: datetime,
        now: datetime,
        **fields: Unpack[NewApiKey],
    ) -> "ApiKey":
        """Return a new key, which expires after `now`, the time of the storage.

        Raises FieldValidationError for an invalid name, scope or expiry.
        """
        scopes, user_id, expires_at = frozenset(fields["scopes"]), fields.get("user_id"), fields.get("expires_at")
        if not scopes:
            raise FieldValidationError("scopes", "An API key needs at least one scope.")
        if user_id is not None and not scopes <= USER_SCOPES:
            raise FieldValidationError(
                "scopes", "An API key that is bound to a user can only have user and post scopes."
            )
        if expires_at is not None and expires_at <= now:
            raise FieldValidationError("expires_at", "Must be in the future.")
        return cls(
            id=id,
            name=normalize_api_key_name(fields["name"]),
            scopes=scopes,
            user_id=user_id,
            secret_hash=secret_hash,
            family_id=family_id,
            family_secret=family_secret,
            created_at=created_at,
            expires_at=expires_at,
            last_used_at=None,
            revoked_at=None,
        )

    def is_active(self, now: datetime) -> bool:
        """Return True if the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def revoke(self, now: datetime) -> "ApiKey":
        """Return the revoked key. A revoked key is unchanged."""
        return self if self.revoked_at is not None else replace(self, revoked_at=now)

    def expire_at(self, at: datetime) -> "ApiKey":
        """Return the key with this expiry. An earlier expiry is unchanged."""
        return self if self.expires_at is not None and self.expires_at <= at else replace(self, expires_at=at)

    def record_use(self, now: datetime) -> "ApiKey":
        """Return the key with this time of its last use. A later time is unchanged."""
        return self if self.last_used_at is not None and self.last_used_at >= now else replace(self, last_used_at=now)
