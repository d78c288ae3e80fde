"""Optimistic locking: an update applies to the version that the caller has read."""

from collections.abc import Container
from datetime import datetime
from typing import Protocol

from application.ports import CommitResultUnresolvableError, UnitOfWork
from domain.errors import VersionMismatchError


class Versioned(Protocol):
    """An entity that counts its changes: `version` starts at 1 and increases by 1 with each change."""

    @property
    def version(self) -> int:
        """The number of the version."""


def require_expected_version(entity: Versioned, expected: Container[int] | None) -> None:
    """Raise VersionMismatchError if the version of the entity is not an expected one. None accepts all versions."""
    if expected is not None and entity.version not in expected:
        raise VersionMismatchError


class VersionedUpdate:
    """The update of one entity at the time `now`, across all attempts of a use case."""

    __slots__ = ("_expected", "_lost_commits", "_unresolved_version", "_written", "now")

    def __init__(self, expected: Container[int] | None, now: datetime) -> None:
        self._expected = expected
        self._lost_commits = 0
        self._written: list[Versioned] = []  # the entity that each attempt tried to store
        self._unresolved_version: int | None = None  # the version of an attempt whose commit result is unknown
        self.now = now

    def check_version(self, entity: Versioned) -> None:
        """Call `require_expected_version`, unless an earlier attempt of this call stored the entity."""
        if entity not in self._written:
            require_expected_version(entity, self._expected)

    def check_write(self, changed: Versioned, work: UnitOfWork) -> None:
        """Check that `changed` can be stored. Precondition: no earlier attempt stored the version that was read.

        Raises VersionMismatchError, and CommitResultUnresolvableError if the commit result of an attempt is unknown and
        the entity has advanced by more than one version since. This update may be among them, and a second execution
        could revert later updates. If the entity has advanced by one version, that version is from a different request,
        and the attempt has failed.
        """
        version = changed.version - 1
        if self._expected is not None and version not in self._expected:
            raise VersionMismatchError
        if work.lost_commits > self._lost_commits and self._written and self._unresolved_version is None:
            self._unresolved_version = self._written[-1].version
        if self._unresolved_version is not None and version >= self._unresolved_version:
            if version > self._unresolved_version:
                raise CommitResultUnresolvableError
            self._unresolved_version = None
        self._lost_commits = work.lost_commits
        self._written.append(changed)
