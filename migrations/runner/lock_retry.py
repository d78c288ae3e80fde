"""Retries a step of a migration while other sessions hold its locks.

A session that waits for an ACCESS EXCLUSIVE lock blocks all later readers of the table. A short lock_timeout limits how
long. PostgreSQL cancels autovacuum only after a wait of deadlock_timeout, which is longer. If autovacuum may hold the
lock, the runner therefore waits between two attempts for a weak lock that does not block reads or writes.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from migrations.sql.locks import WRITE_BLOCKING_LOCKS, locks_of

T = TypeVar("T")

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
QUERY_CANCELED = "57014"
NOTHING_COMPLETED = "nothing was changed"

_TABLES = """
    SELECT coalesce(indrelid, named.oid) FROM unnest(CAST(:names AS text[])) AS name
    JOIN pg_class AS named ON named.oid = to_regclass(name) LEFT JOIN pg_index ON indexrelid = named.oid
"""
_HOLDERS = text(f"""
    SELECT format('%s (%s) holds %s on %s',
                  coalesce('pid ' || locks.pid, 'prepared transaction ' || gid),
                  concat_ws(', ', coalesce(nullif(application_name, ''), usename, backend_type, owner),
                            coalesce(state, 'in transaction') || ' for '
                            || extract(epoch FROM clock_timestamp() - coalesce(xact_start, prepared))::integer || ' s'),
                  string_agg(DISTINCT mode, ', '), string_agg(DISTINCT relation::regclass::text, ', '))
    FROM pg_locks AS locks JOIN pg_class ON pg_class.oid = relation LEFT JOIN pg_stat_activity USING (pid)
    LEFT JOIN pg_prepared_xacts ON locks.pid IS NULL AND transaction IN (
        SELECT transactionid FROM pg_locks AS own WHERE pid IS NULL AND virtualtransaction = locks.virtualtransaction
    )
    WHERE locktype = 'relation' AND granted AND locks.pid IS DISTINCT FROM pg_backend_pid()
      AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace) AND relkind IN ('r', 'p')
      AND (cardinality(CAST(:names AS text[])) = 0 OR relation IN ({_TABLES}))
    GROUP BY locks.pid, gid, application_name, usename, backend_type, owner, state, xact_start, prepared
    ORDER BY bool_or(mode = 'AccessExclusiveLock') DESC, coalesce(xact_start, prepared) LIMIT 3
""")
_NAMES = f"SELECT DISTINCT found::regclass::text FROM ({_TABLES}) AS tables (found)"
_NAMES_LOCKED_AS_BY_VACUUM = f"""
    {_NAMES} JOIN pg_locks ON relation = found AND granted
    WHERE mode = 'ShareUpdateExclusiveLock' AND pid <> pg_backend_pid()
"""


class MigrationError(Exception):
    """A revision was not completed. The message has the reason and the completed work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRetryPolicy:
    """Time limits and retries; times in seconds.

    With the defaults a step fails after 30 to 63 s, of which it waits 3 s for locks that block other sessions.
    """

    lock_timeout: float = 0.1
    weak_lock_timeout: float = 3.0
    """The limit for locks that do not block reads or writes; above the default deadlock_timeout of 1 s."""
    statement_timeout: float = 5.0
    attempts: int = 30
    max_backoff: float = 2.0
    max_wait: float = 60.0
    """The limit for all attempts of a step, and for the lock of another migration. The last attempt is added."""

    def backoff(self, attempt: int) -> float:
        """Return the delay after an attempt: exponential, with jitter."""
        return random.uniform(0.5, 1.0) * min(self.max_backoff, self.lock_timeout * 2.0**attempt)  # noqa: S311

    def limits(self) -> dict[str, int]:
        """Return the PostgreSQL timeouts, in milliseconds, for statements that can block other sessions."""
        return {
            "lock_timeout": round(1000 * self.lock_timeout),
            "statement_timeout": round(1000 * self.statement_timeout),
        }


def policy_of(context: MigrationContext) -> LockRetryPolicy:
    """Return the retry policy of a migration context."""
    policy: LockRetryPolicy = context.opts.get("lock_retry_policy", LockRetryPolicy())
    return policy


def retry_on_lock_timeout(
    context: MigrationContext,
    attempt: Callable[[], T],
    *,
    current_step: Callable[[], str],
    completed_work: Callable[[], str] = lambda: NOTHING_COMPLETED,
    tables: Sequence[str] | None = None,
) -> T:
    """Retry `attempt` while it fails on a lock, and return its result.

    Each value of `current_step` has its own number of attempts. A failed attempt must be rolled back. `tables` replaces
    the tables of the failed statement in the error, and disables the interruption of autovacuum.
    Raises MigrationError, with `completed_work`, after the last attempt or a cancellation.
    """
    policy = policy_of(context)
    attempts: Counter[str] = Counter()
    deadlines: dict[str, float] = {}
    while True:
        try:
            return attempt()
        except DBAPIError as error:
            state = sqlstate(error)
            if state not in {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, QUERY_CANCELED}:
                raise
            step = current_step()
            attempts[step] += 1
            is_late = time.monotonic() > deadlines.setdefault(step, time.monotonic() + policy.max_wait)
            if attempts[step] == policy.attempts or is_late or state == QUERY_CANCELED:
                names = tables_in_statement(error.statement) if tables is None else tables
                reason = _reason(context, state, attempts[step], names)
                raise MigrationError(f"{step}: {reason}; {completed_work()}") from error
            time.sleep(policy.backoff(attempts[step]))
            if tables is None and context.connection is not None:
                blocked = tables_in_statement(error.statement, write_blocked=True)
                with suppress(DBAPIError):  # of another session
                    request_weak_lock(context.connection, blocked, policy, only_if_vacuumed=True)


def tables_in_statement(statement: str | None, *, write_blocked: bool = False) -> list[str]:
    """Return the SQL names of the tables and indexes that a statement locks, or only those it blocks for writes."""
    return [
        name
        for name, mode in locks_of((statement or "").strip()).items()
        if name.count('"') % 2 == 0 and (not write_blocked or mode in WRITE_BLOCKING_LOCKS)
    ]


def _describe_lock_holders(connection: Connection | None, names: Sequence[str]) -> str:
    """Describe the sessions with locks on these tables (or on any table), the strongest locks first."""
    if connection is None:
        return ""
    holders = [str(holder) for (holder,) in connection.execute(_HOLDERS, {"names": list(names)})]
    return "; ".join(holders) or "the lock is free again; run the migration again"


def request_weak_lock(
    connection: Connection, names: Sequence[str], policy: LockRetryPolicy, *, only_if_vacuumed: bool = False
) -> None:
    """Wait for a lock on these tables that does not block reads or writes, and release it.

    PostgreSQL cancels autovacuum after another session has waited for it for deadlock_timeout.
    """
    query = text(_NAMES_LOCKED_AS_BY_VACUUM if only_if_vacuumed else _NAMES)
    with nullcontext() if connection.in_transaction() else connection.begin():
        for (table,) in connection.execute(query, {"names": list(names)}).all():
            connection.exec_driver_sql(f"""
                DO $$ BEGIN
                    PERFORM set_config('lock_timeout', '{round(1000 * policy.weak_lock_timeout)}', true);
                    LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE;
                END $$
            """)


def _reason(context: MigrationContext, state: str | None, attempts: int, names: Sequence[str]) -> str:
    if state == QUERY_CANCELED:
        limit = _current_limit(context, "statement_timeout") / 1000
        return f"stopped after the statement_timeout of {limit:g} s" if limit else "cancelled by another session"
    limit = _current_limit(context, "lock_timeout")
    return f"no lock after {attempts} attempts of {limit} ms ({_describe_lock_holders(context.connection, names)})"


def _current_limit(context: MigrationContext, name: str) -> int:
    """Return the current value of a timeout in milliseconds; 0 if it is disabled."""
    if context.connection is None:
        return 0
    query = text("SELECT setting::integer FROM pg_settings WHERE name = :name")
    return int(context.connection.execute(query, {"name": name}).scalar_one())


def sqlstate(error: Any) -> str | None:
    """Return the SQLSTATE of a driver error that SQLAlchemy wrapped."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state
