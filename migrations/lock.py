"""One migration at a time: an advisory lock on a connection of its own."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, bindparam, func, select, text

KEY = int.from_bytes(b"hexapost")
POLL_SECONDS = 0.2

_TRY = select(func.pg_try_advisory_lock(bindparam("key", KEY)))
_UNLOCK = select(func.pg_advisory_unlock(bindparam("key", KEY)))
_HELD = text("""
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = :key
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""").bindparams(key=KEY)


@contextmanager
def one_at_a_time(engine: Engine, report: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold the lock in the block; what is returned raises an error of the driver when the lock may have been lost.

    The lock is asked for again and again: a session that waits for it inside pg_advisory_lock has a snapshot, for whose
    end CREATE INDEX CONCURRENTLY waits, while it waits for the one who creates the index: a deadlock. For the same
    reason this connection never has a transaction open.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _take(connection, report)
        yield lambda: connection.execute(text("SELECT 1")).close()
        connection.scalar(_UNLOCK)  # after an error the end of the session does it


def _take(connection: Connection, report: Callable[[str], None]) -> None:
    said = False
    while not connection.scalar(_TRY):
        if not said:
            report(f"another migration is under way (pid {connection.scalar(_HELD)}): waiting for it")
            said = True
        time.sleep(POLL_SECONDS)
