"""How long a step may wait for a lock, how often it is tried again, and what is said when it was in vain.

Whoever waits for an ACCESS EXCLUSIVE lock stands in a queue, and every reader who comes later stands behind: a short
lock_timeout and another attempt after a pause keep that queue as short as the timeout.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from migrations.autovacuum import interrupt_autovacuum

T = TypeVar("T")

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
QUERY_CANCELED = "57014"

_HOLDERS = text("""
    SELECT format('pid %s (%s, %s for %s s) holds %s on %s',
                  pid, coalesce(nullif(application_name, ''), usename), state,
                  extract(epoch FROM now() - xact_start)::integer, string_agg(DISTINCT mode, ', '),
                  string_agg(DISTINCT relation::regclass::text, ', '))
    FROM pg_locks JOIN pg_stat_activity USING (pid) JOIN pg_class ON pg_class.oid = relation
    WHERE locktype = 'relation' AND granted AND pid <> pg_backend_pid() AND datname = current_database()
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace) AND relkind IN ('r', 'p')
    GROUP BY pid, application_name, usename, state, xact_start
    ORDER BY xact_start LIMIT 3
""")


class MigrationError(Exception):
    """A revision was not applied, or not to its end; the message says why and what is left, in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Times in seconds. By default a step gives up after 20 to 40 s, of which it queued for 3 s."""

    lock_timeout: float = 0.1
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
    left: str = "nothing of it",
) -> T:
    """Return what the attempt returns; try again, after a pause, while it meets a lock.

    The attempt leaves nothing behind when it fails. Raises MigrationError when all were in vain; `left` says what is
    done by then.
    """
    patience = patience_of(context)
    for attempt in range(1, patience.attempts + 1):
        try:
            return attempt_it()
        except DBAPIError as error:
            if sqlstate(error) not in {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, QUERY_CANCELED}:
                raise
            if attempt == patience.attempts or sqlstate(error) == QUERY_CANCELED:
                what = doing if isinstance(doing, str) else doing()
                raise MigrationError(f"{what}: {_why(context, error, attempt)}; {left} is done") from error
        if context.connection is not None:
            interrupt_autovacuum(context.connection)
        time.sleep(patience.pause(attempt))
    raise AssertionError


def _why(context: MigrationContext, error: DBAPIError, attempts: int) -> str:
    patience = patience_of(context)
    if sqlstate(error) == QUERY_CANCELED:
        return f"stopped after {patience.statement_timeout:g} s, in which it may have kept others waiting"
    limit = f"{attempts} attempts of {1000 * patience.lock_timeout:g} ms"
    return f"no lock within {limit} ({holders(context.connection)})"


def holders(connection: Connection | None) -> str:
    """Return who holds locks, the longest transactions first, in words."""
    if connection is None:
        return ""
    found = [str(words) for (words,) in connection.execute(_HOLDERS)]
    return "; ".join(found) or "whoever held the lock is gone by now: try again"


def sqlstate(error: Any) -> str | None:
    """Return the SQLSTATE of a driver's error that SQLAlchemy wrapped."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None
