"""Tests for retries of migrations that get no lock."""

from types import SimpleNamespace

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from migrations.runner.lock_retry import LOCK_NOT_AVAILABLE, LockRetryPolicy, MigrationError, retry_on_lock_timeout

LOCKED = OperationalError("SELECT 1", {}, SimpleNamespace(sqlstate=LOCK_NOT_AVAILABLE))  # type: ignore[arg-type]


def _context() -> MigrationContext:
    policy = LockRetryPolicy(attempts=3, lock_timeout=0.001, max_backoff=0.001)
    return MigrationContext.configure(dialect_name="postgresql", opts={"lock_retry_policy": policy})


def test_lock_retry_counts_attempts_per_revision() -> None:
    steps = ["one", "one", "two", "two", "three", "three"]

    def attempt() -> str:
        if len(steps) > 1:
            raise LOCKED
        return "done"

    assert retry_on_lock_timeout(_context(), attempt, current_step=lambda: steps.pop(0)) == "done"


def test_lock_retry_error_names_the_failed_revision() -> None:
    steps = iter(["one", "one", "two", "two", "two"])

    def attempt() -> None:
        raise LOCKED

    with pytest.raises(MigrationError, match="two: no lock after 3 attempts of 0 ms"):
        retry_on_lock_timeout(_context(), attempt, current_step=lambda: next(steps))
