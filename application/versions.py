"""Optimistic concurrency as callers see it: a change builds upon the version that the caller has read."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from application.ports import OutcomeUnknownError, UnitOfWork
from domain.errors import VersionMismatchError


class Versioned(Protocol):
    """An entity that counts its changes: `version` starts at 1 and increases by 1 with each change."""

    @property
    def version(self) -> int:
        """The number of the version."""


def require_version(entity: Versioned, expected: Collection[int] | None) -> None:
    """Raise VersionMismatchError when versions are expected and the entity has none of them."""
    if expected is not None and entity.version not in expected:
        raise VersionMismatchError


class Revision:
    """One change of one entity at the time `now`, over all attempts of the call that makes it."""

    __slots__ = ("_expected", "_lost", "_made", "_unanswered", "now")

    def __init__(self, expected: Collection[int] | None, now: datetime) -> None:
        self._expected = expected
        self._lost = 0
        self._made: list[Versioned] = []  # what each attempt was to store
        self._unanswered: int | None = None  # the version that one of them makes of which nobody knows what came of it
        self.now = now

    def check(self, entity: Versioned) -> None:
        """Raise VersionMismatchError as `require_version` does, except for the echo of an earlier attempt."""
        if entity not in self._made:
            require_version(entity, self._expected)

    def make(self, changed: Versioned, work: UnitOfWork) -> None:
        """Raise unless `changed`, the next version of what was read, may be stored; what was read is no echo.

        Raises VersionMismatchError, and OutcomeUnknownError when an attempt was lost on its way back and the entity has
        gone on by more than one version since: whether this change is among them nobody can tell, and made a second
        time it could undo what others have built upon it. One version on, that version is another's, and the attempt
        has failed for good.
        """
        version = changed.version - 1
        if self._expected is not None and version not in self._expected:
            raise VersionMismatchError
        if work.lost > self._lost and self._made and self._unanswered is None:
            self._unanswered = self._made[-1].version
        if self._unanswered is not None and version >= self._unanswered:
            if version > self._unanswered:
                raise OutcomeUnknownError
            self._unanswered = None
        self._lost = work.lost
        self._made.append(changed)
