"""One migration at a time: an advisory lock on a connection of its own."""

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
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = :key
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""").bindparams(key=ADVISORY_LOCK_KEY)
_HELD_BY_THIS_SESSION = text(f"{_LOCK_HOLDER.text} AND pid = pg_backend_pid()").bindparams(key=ADVISORY_LOCK_KEY)
_LOCK_LOST_MESSAGE = "the migration lock was lost, and another migration may be under way"
_KEEP_ALIVE_SETTINGS = {"idle_session_timeout": 0, "tcp_keepalives_idle": 30}
"""Of a session that says nothing for as long as an index is built."""


@contextmanager
def migration_lock(engine: Engine, report: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold the lock in the block; what is returned raises MigrationError when it was lost.

    The lock is asked for again and again: a session that waits for it inside pg_advisory_lock has a snapshot, for whose
    end CREATE INDEX CONCURRENTLY waits, while it waits for the one who creates the index: a deadlock. For the same
    reason this connection never has a transaction open.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name, value in _KEEP_ALIVE_SETTINGS.items():
            connection.execute(text(f"SET {name} = {value}"))
        _acquire(connection, report)
        yield lambda: _check(connection)
        with suppress(SQLAlchemyError):  # after an error the end of the session does it
            connection.scalar(_UNLOCK)


def _check(connection: Connection) -> None:
    """Raise MigrationError unless this very session holds the lock: a pooler may have given us another."""
    try:
        held = connection.execute(_HELD_BY_THIS_SESSION).first() is not None
    except SQLAlchemyError as error:
        raise MigrationError(f"{_LOCK_LOST_MESSAGE}: its session was ended; start it again") from error
    if not held:
        raise MigrationError(
            f"{_LOCK_LOST_MESSAGE}: another session stands in its place, as a pooler does; start it again without"
        )


def _acquire(connection: Connection, report: Callable[[str], None]) -> None:
    reported = False
    while not connection.scalar(_TRY_LOCK):
        if not reported:
            report(f"another migration is under way (pid {connection.scalar(_LOCK_HOLDER)}): waiting for it")
            reported = True
        time.sleep(POLL_SECONDS)
