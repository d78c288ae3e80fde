"""Runs one migration at a time: an advisory lock on a separate connection."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, bindparam, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from migrations.runner.lock_retry import MigrationError

ADVISORY_LOCK_KEY = int.from_bytes(b"hexapost")
POLL_SECONDS = 0.2

_TRY_LOCK = select(func.pg_try_advisory_lock(bindparam("key", ADVISORY_LOCK_KEY)))
_UNLOCK = select(func.pg_advisory_unlock(bindparam("key", ADVISORY_LOCK_KEY)))
_LOCK_HOLDER = text("""
    SELECT format('pid %s (%s)', pid, concat_ws(', ', coalesce(nullif(application_name, ''), usename), state,
        'connected for ' || extract(epoch FROM now() - backend_start)::integer || ' s'))
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = :key
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""").bindparams(key=ADVISORY_LOCK_KEY)
_HELD_BY_THIS_SESSION = text(f"{_LOCK_HOLDER.text} AND pid = pg_backend_pid()").bindparams(key=ADVISORY_LOCK_KEY)
_KEEP_ALIVE_SETTINGS = {"idle_session_timeout": 0, "tcp_keepalives_idle": 30}
"""The lock session is idle while an index is built."""


@contextmanager
def migration_lock(engine: Engine, report: Callable[[str], None], *, max_wait: float) -> Iterator[Callable[[], None]]:
    """Hold the lock during the block. Yield a check that raises MigrationError if the lock is lost.

    Raises MigrationError if another migration holds the lock for more than `max_wait` seconds.
    The lock is polled. A session that waits inside pg_advisory_lock keeps a snapshot, and CREATE INDEX CONCURRENTLY
    waits for old snapshots: a deadlock. For the same reason, this connection never keeps a transaction open.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name, value in _KEEP_ALIVE_SETTINGS.items():
            connection.execute(text(f"SET {name} = {value}"))
        _acquire(connection, report, max_wait)
        yield lambda: _require_lock(connection)
        with suppress(SQLAlchemyError):  # after an error, the end of the session releases the lock
            connection.scalar(_UNLOCK)


def _require_lock(connection: Connection) -> None:
    try:
        is_held = connection.execute(_HELD_BY_THIS_SESSION).first() is not None
    except SQLAlchemyError as error:
        raise MigrationError(
            "The migration lock was lost because its session was closed. Run the migration again."
        ) from error
    if not is_held:
        raise MigrationError(
            "The migration lock was lost because the connection pooler switched sessions. "
            "Connect directly to PostgreSQL (not through PgBouncer) and run the migration again."
        )


def _acquire(connection: Connection, report: Callable[[str], None], max_wait: float) -> None:
    due = time.monotonic() + max_wait
    is_reported = False
    while not connection.scalar(_TRY_LOCK):
        holder = f"another migration is running: {connection.scalar(_LOCK_HOLDER)}"
        if time.monotonic() > due:
            raise MigrationError(
                f"{holder}; gave up after {max_wait:g} s. Nothing was applied; run the migration again"
            )
        if not is_reported:
            report(f"{holder}; waiting for its lock")
            is_reported = True
        time.sleep(POLL_SECONDS)
