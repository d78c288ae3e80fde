"""Tests for retries of migrations that get no lock."""

from types import SimpleNamespace

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from migrations.patience import LOCK_NOT_AVAILABLE, MigrationError, Patience, patiently

LOCKED = OperationalError("SELECT 1", {}, SimpleNamespace(sqlstate=LOCK_NOT_AVAILABLE))  # type: ignore[arg-type]


def _context() -> MigrationContext:
    patience = Patience(attempts=3, lock_timeout=0.001, longest_pause=0.001)
    return MigrationContext.configure(dialect_name="postgresql", opts={"patience": patience})


def test_lock_retry_counts_attempts_per_revision() -> None:
    steps = ["one", "one", "two", "two", "three", "three"]

    def attempt() -> str:
        if len(steps) > 1:
            raise LOCKED
        return "done"

    assert patiently(_context(), attempt, doing=lambda: steps.pop(0)) == "done"


def test_lock_retry_error_names_the_failed_revision() -> None:
    steps = iter(["one", "one", "two", "two", "two"])

    def attempt() -> None:
        raise LOCKED

    with pytest.raises(MigrationError, match="two: no lock within 3 attempts of 0 ms"):
        patiently(_context(), attempt, doing=lambda: next(steps))
