"""One migration at a time: an advisory lock on a connection of its own."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, bindparam, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from migrations.patience import MigrationError

KEY = int.from_bytes(b"hexapost")
POLL_SECONDS = 0.2

_TRY = select(func.pg_try_advisory_lock(bindparam("key", KEY)))
_UNLOCK = select(func.pg_advisory_unlock(bindparam("key", KEY)))
_HELD = text("""
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = :key
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""").bindparams(key=KEY)
_HELD_BY_US = text(f"{_HELD.text} AND pid = pg_backend_pid()").bindparams(key=KEY)
_LOST = "the migration lock was lost, and another migration may be under way"
_KEPT = {"idle_session_timeout": 0, "tcp_keepalives_idle": 30}
"""Of a session that says nothing for as long as an index is built."""


@contextmanager
def one_at_a_time(engine: Engine, report: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold the lock in the block; what is returned raises MigrationError when it was lost.

    The lock is asked for again and again: a session that waits for it inside pg_advisory_lock has a snapshot, for whose
    end CREATE INDEX CONCURRENTLY waits, while it waits for the one who creates the index: a deadlock. For the same
    reason this connection never has a transaction open.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name, value in _KEPT.items():
            connection.execute(text(f"SET {name} = {value}"))
        _take(connection, report)
        yield lambda: _check(connection)
        with suppress(SQLAlchemyError):  # after an error the end of the session does it
            connection.scalar(_UNLOCK)


def _check(connection: Connection) -> None:
    """Raise MigrationError unless this very session holds the lock: a pooler may have given us another."""
    try:
        held = connection.execute(_HELD_BY_US).first() is not None
    except SQLAlchemyError as error:
        raise MigrationError(f"{_LOST}: its session was ended; start it again") from error
    if not held:
        raise MigrationError(f"{_LOST}: another session stands in its place, as a pooler does; start it again without")


def _take(connection: Connection, report: Callable[[str], None]) -> None:
    said = False
    while not connection.scalar(_TRY):
        if not said:
            report(f"another migration is under way (pid {connection.scalar(_HELD)}): waiting for it")
            said = True
        time.sleep(POLL_SECONDS)
