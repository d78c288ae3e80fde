"""How long a step may wait for a lock, how often it is tried again, and what is said when it was in vain.

Whoever waits for an ACCESS EXCLUSIVE lock stands in a queue, and every reader who comes later stands behind: a short
lock_timeout and another attempt after a pause keep that queue as short as the timeout. Autovacuum would not notice
that: it gives way only to who waits for deadlock_timeout, so somebody does, for a lock that nobody else notices.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from migrations.others import holders, make_way, tables_of

T = TypeVar("T")

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
QUERY_CANCELED = "57014"
NOTHING = "nothing of it is done"
_CANCELLED = "somebody has cancelled it"


class MigrationError(Exception):
    """A revision was not applied, or not to its end; the message says why and what is left, in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Times in seconds. By default a step gives up after 30 to 56 s, of which it queued for 3 s.

    It takes longer when it waits for autovacuum.
    """

    lock_timeout: float = 0.1
    weak_lock_timeout: float = 3.0
    """For a lock beside which everybody reads and writes; longer than deadlock_timeout, 1 s."""
    statement_timeout: float = 5.0
    attempts: int = 30
    longest_pause: float = 2.0

    def pause(self, attempt: int) -> float:
        """Return how long to wait after that attempt: growing, and never as long as another migration's."""
        return random.uniform(0.5, 1.0) * min(self.longest_pause, self.lock_timeout * 2.0**attempt)  # noqa: S311

    def limits(self) -> dict[str, int]:
        """Return the limits of what may keep others waiting, as PostgreSQL's parameters, in milliseconds."""
        return {
            "lock_timeout": round(1000 * self.lock_timeout),
            "statement_timeout": round(1000 * self.statement_timeout),
        }


def patience_of(context: MigrationContext) -> Patience:
    """Return the patience with which these migrations were started."""
    patience = context.opts.get("patience")
    return patience if isinstance(patience, Patience) else Patience()


def patiently(
    context: MigrationContext,
    attempt_it: Callable[[], T],
    *,
    doing: str | Callable[[], str],
    left: str | Callable[[], str] = NOTHING,
    on: Sequence[str] | None = None,
) -> T:
    """Return what the attempt returns; try again, after a pause, while it meets a lock.

    The attempt leaves nothing behind when it fails. Raises MigrationError when all were in vain; `left` says what is
    done by then. What is `doing` after an attempt is what it failed at, and each has its own attempts. The locks are on
    the tables that the statement names, or on these.
    """
    patience = patience_of(context)
    attempts: Counter[str] = Counter()
    while True:
        try:
            return attempt_it()
        except DBAPIError as error:
            if sqlstate(error) not in {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, QUERY_CANCELED}:
                raise
            names = tables_of(error.statement) if on is None else on
            what = doing if isinstance(doing, str) else doing()
            attempts[what] += 1
            if attempts[what] == patience.attempts or sqlstate(error) == QUERY_CANCELED:
                done = left if isinstance(left, str) else left()
                raise MigrationError(f"{what}: {_why(context, error, attempts[what], names)}; {done}") from error
            time.sleep(patience.pause(attempts[what]))
            if on is None and context.connection is not None:
                make_way(context.connection, tables_of(error.statement, stopped=True), patience.weak_lock_timeout)


def _why(context: MigrationContext, error: DBAPIError, attempts: int, names: Sequence[str]) -> str:
    if sqlstate(error) == QUERY_CANCELED:
        limit = _limit(context, "statement_timeout") / 1000
        return f"stopped after {limit:g} s, in which it may have kept others waiting" if limit else _CANCELLED
    limits = f"{attempts} attempts of {_limit(context, 'lock_timeout')} ms"
    return f"no lock within {limits} ({holders(context.connection, names)})"


def _limit(context: MigrationContext, name: str) -> int:
    """Return a limit as it is now, in milliseconds; 0 is none."""
    if context.connection is None:
        return 0
    question = text("SELECT setting::integer FROM pg_settings WHERE name = :name")
    return int(context.connection.execute(question, {"name": name}).scalar_one())


def sqlstate(error: Any) -> str | None:
    """Return the SQLSTATE of a driver's error that SQLAlchemy wrapped."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None
