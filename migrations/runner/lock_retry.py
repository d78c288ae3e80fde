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

from migrations.runner.lock_holders import describe_lock_holders, interrupt_autovacuum, tables_in_statement

T = TypeVar("T")

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
QUERY_CANCELED = "57014"
NOTHING_COMPLETED = "nothing of it is done"
_CANCELLED_MESSAGE = "somebody has cancelled it"


class MigrationError(Exception):
    """A revision was not applied, or not to its end; the message says why and what is left, in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRetryPolicy:
    """Times in seconds. By default a step gives up after 30 to 56 s, of which it queued for 3 s.

    It takes longer when it waits for autovacuum.
    """

    lock_timeout: float = 0.1
    weak_lock_timeout: float = 3.0
    """For a lock beside which everybody reads and writes; longer than deadlock_timeout, 1 s."""
    statement_timeout: float = 5.0
    attempts: int = 30
    max_backoff: float = 2.0

    def backoff(self, attempt: int) -> float:
        """Return how long to wait after that attempt: growing, and never as long as another migration's."""
        return random.uniform(0.5, 1.0) * min(self.max_backoff, self.lock_timeout * 2.0**attempt)  # noqa: S311

    def limits(self) -> dict[str, int]:
        """Return the limits of what may keep others waiting, as PostgreSQL's parameters, in milliseconds."""
        return {
            "lock_timeout": round(1000 * self.lock_timeout),
            "statement_timeout": round(1000 * self.statement_timeout),
        }


def policy_of(context: MigrationContext) -> LockRetryPolicy:
    """Return the patience with which these migrations were started."""
    policy = context.opts.get("lock_retry_policy")
    return policy if isinstance(policy, LockRetryPolicy) else LockRetryPolicy()


def retry_on_lock_timeout(
    context: MigrationContext,
    attempt: Callable[[], T],
    *,
    current_step: str | Callable[[], str],
    completed_work: str | Callable[[], str] = NOTHING_COMPLETED,
    on: Sequence[str] | None = None,
) -> T:
    """Return what the attempt returns; try again, after a pause, while it meets a lock.

    The attempt leaves nothing behind when it fails. Raises MigrationError when all were in vain; `completed_work` says
    what is done by then. What is `current_step` after an attempt is what it failed at, and each has its own attempts.
    The locks are on the tables that the statement names, or on these.
    """
    policy = policy_of(context)
    attempts: Counter[str] = Counter()
    while True:
        try:
            return attempt()
        except DBAPIError as error:
            if sqlstate(error) not in {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, QUERY_CANCELED}:
                raise
            names = tables_in_statement(error.statement) if on is None else on
            step = current_step if isinstance(current_step, str) else current_step()
            attempts[step] += 1
            if attempts[step] == policy.attempts or sqlstate(error) == QUERY_CANCELED:
                done = completed_work if isinstance(completed_work, str) else completed_work()
                raise MigrationError(
                    f"{step}: {_describe_failure(context, error, attempts[step], names)}; {done}"
                ) from error
            time.sleep(policy.backoff(attempts[step]))
            if on is None and context.connection is not None:
                interrupt_autovacuum(
                    context.connection,
                    tables_in_statement(error.statement, write_blocked=True),
                    policy.weak_lock_timeout,
                )


def _describe_failure(context: MigrationContext, error: DBAPIError, attempts: int, names: Sequence[str]) -> str:
    if sqlstate(error) == QUERY_CANCELED:
        limit = _current_setting(context, "statement_timeout") / 1000
        return f"stopped after {limit:g} s, in which it may have kept others waiting" if limit else _CANCELLED_MESSAGE
    limits = f"{attempts} attempts of {_current_setting(context, 'lock_timeout')} ms"
    return f"no lock within {limits} ({describe_lock_holders(context.connection, names)})"


def _current_setting(context: MigrationContext, name: str) -> int:
    """Return a limit as it is now, in milliseconds; 0 is none."""
    if context.connection is None:
        return 0
    question = text("SELECT setting::integer FROM pg_settings WHERE name = :name")
    return int(context.connection.execute(question, {"name": name}).scalar_one())


def sqlstate(error: Any) -> str | None:
    """Return the SQLSTATE of a driver's error that SQLAlchemy wrapped."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None
