"""API keys and their rules: who may do what, and for how long."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.errors import InvalidValueError, NotFoundError
from domain.text import clean_line

LONGEST_KEY_NAME = 100
"""Code points."""


class Scope(StrEnum):
    """What a key allows."""

    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    POSTS_READ = "posts:read"
    POSTS_WRITE = "posts:write"
    KEYS_ADMIN = "keys:admin"
    METRICS_READ = "metrics:read"


USER_SCOPES = frozenset({Scope.USERS_READ, Scope.USERS_WRITE, Scope.POSTS_READ, Scope.POSTS_WRITE})
"""What a key that is bound to a user can allow: the others reach beyond one user."""


class ApiKeyNotFoundError(NotFoundError):
    """No key has this id."""

    def __init__(self) -> None:
        super().__init__("There is no API key with this id.")


class KeyUserNotFoundError(InvalidValueError):
    """The user whom a key is bound to does not exist."""

    def __init__(self) -> None:
        super().__init__("user_id", "There is no user with this id.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedSecret:
    """What is kept of a key's secret: a keyed hash, and the version of the pepper that keyed it."""

    pepper: int
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key to the service, all of it but the secret.

    With `user_id` it is bound to that user. Times are aware, in UTC; `last_used_at` lags behind by a minute or so.
    """

    id: UUID
    name: str
    scopes: frozenset[Scope]
    user_id: UUID | None
    secret: HashedSecret
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def created(
        cls,
        *,
        id: UUID,
        name: str,
        scopes: Iterable[Scope],
        user_id: UUID | None,
        secret: HashedSecret,
        expires_at: datetime | None,
        now: datetime,
    ) -> "ApiKey":
        """Return a new key. Raises InvalidValueError for a name, scopes or an end that break the rules."""
        found = frozenset(scopes)
        if not found:
            raise InvalidValueError("scopes", "A key needs at least one scope.")
        if user_id is not None and not found <= USER_SCOPES:
            raise InvalidValueError("scopes", "A key that is bound to a user can only have scopes of users and posts.")
        if expires_at is not None and expires_at <= now:
            raise InvalidValueError("expires_at", "It must be in the future.")
        return cls(
            id=id,
            name=clean_key_name(name),
            scopes=found,
            user_id=user_id,
            secret=secret,
            created_at=now,
            expires_at=expires_at,
            last_used_at=None,
            revoked_at=None,
        )

    def is_live(self, now: datetime) -> bool:
        """Tell whether the key opens anything at this time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def revoked(self, now: datetime) -> "ApiKey":
        """Return the key revoked; one that was revoked before stays as it is."""
        return self if self.revoked_at is not None else replace(self, revoked_at=now)

    def ending(self, at: datetime) -> "ApiKey":
        """Return the key with its end at this time; one that ends before stays as it is."""
        return self if self.expires_at is not None and self.expires_at <= at else replace(self, expires_at=at)

    def used(self, now: datetime) -> "ApiKey":
        """Return the key with this use noted; one with a later use stays as it is."""
        return self if self.last_used_at is not None and self.last_used_at >= now else replace(self, last_used_at=now)


def clean_key_name(text: str) -> str:
    """Return a name without blank ends; raises InvalidValueError when it is no single line of 1-100 characters."""
    return clean_line(text, field="name", longest=LONGEST_KEY_NAME)
