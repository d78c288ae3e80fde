"""How often something is tried, and what is said of it in the end."""

from types import SimpleNamespace

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from migrations.patience import LOCK_NOT_AVAILABLE, MigrationError, Patience, patiently

LOCKED = OperationalError("SELECT 1", {}, SimpleNamespace(sqlstate=LOCK_NOT_AVAILABLE))  # type: ignore[arg-type]


def _context() -> MigrationContext:
    patience = Patience(attempts=3, lock_timeout=0.001, longest_pause=0.001)
    return MigrationContext.configure(dialect_name="postgresql", opts={"patience": patience})


def test_each_revision_has_attempts_of_its_own() -> None:
    under_way = ["one", "one", "two", "two", "three", "three"]

    def attempt() -> str:
        if len(under_way) > 1:
            raise LOCKED
        return "done"

    def doing() -> str:
        return under_way.pop(0)

    assert patiently(_context(), attempt, doing=doing) == "done"


def test_the_last_attempt_is_that_of_the_revision_which_failed() -> None:
    under_way = iter(["one", "one", "two", "two", "two"])

    def attempt() -> None:
        raise LOCKED

    with pytest.raises(MigrationError, match="two: no lock within 3 attempts of 0 ms"):
        patiently(_context(), attempt, doing=lambda: next(under_way))
