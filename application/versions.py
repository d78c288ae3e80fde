"""Optimistic concurrency as callers see it: a change builds upon the version that the caller has read."""

from datetime import datetime

from domain.errors import VersionMismatchError
from domain.posts import Post
from domain.users import User


def require_version(entity: User | Post, expected: int | None, *, now: datetime | None = None) -> None:
    """Raise VersionMismatchError when a version is expected and the entity has another.

    With the time of the call, the version after the expected one is accepted too if it is of that very time: then it
    is the echo of an earlier attempt of the call, whose acknowledgement was lost.
    """
    if expected is None or entity.version == expected:
        return
    if entity.version != expected + 1 or entity.updated_at != now:
        raise VersionMismatchError
