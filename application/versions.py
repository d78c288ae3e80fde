"""Optimistic concurrency as callers see it: a change builds upon the version that the caller has read."""

from domain.errors import VersionMismatchError
from domain.posts import Post
from domain.users import User


def require_version(entity: User | Post, expected: int | None) -> None:
    """Raise VersionMismatchError when a version is expected and the entity has another."""
    if expected is not None and entity.version != expected:
        raise VersionMismatchError
