"""Optimistic concurrency as callers see it: a change builds upon the version that the caller has read."""

from collections.abc import Collection
from datetime import datetime

from domain.errors import VersionMismatchError
from domain.posts import Post
from domain.users import User


def require_version(entity: User | Post, expected: Collection[int] | None, *, now: datetime | None = None) -> None:
    """Raise VersionMismatchError when versions are expected and the entity has none of them.

    With the time of the call, the version after an expected one is accepted too if it is of that very time: then it
    is the echo of an earlier attempt of the call, whose acknowledgement was lost.
    """
    if expected is None or entity.version in expected:
        return
    if entity.version - 1 not in expected or entity.updated_at != now:
        raise VersionMismatchError
