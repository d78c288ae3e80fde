"""Autovacuum, which holds a lock on a table for as long as it takes, and lets go of it for whoever waits long enough.

Long enough is deadlock_timeout, a second by default: longer than a step may stand before everybody else, so that it
would try in vain until the table is vacuumed. A lock of the strength of autovacuum's own keeps no reader or writer
waiting, and waiting for that one is enough.
"""

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

_SECONDS = 3
# No role is that of autovacuum; what else it is, only some roles may see.
_VACUUMED = text("""
    SELECT DISTINCT relation::regclass::text FROM pg_locks JOIN pg_stat_activity USING (pid)
    JOIN pg_class ON pg_class.oid = relation
    WHERE locktype = 'relation' AND granted AND mode = 'ShareUpdateExclusiveLock' AND usesysid IS NULL
      AND datname = current_database() AND relkind = 'r'
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
""")


def interrupt_autovacuum(connection: Connection) -> None:
    """Have autovacuum let go of the tables it works on; it comes back later. Against wraparound, it does not let go.

    The connection is in no transaction, or in autocommit.
    """
    is_ours = not connection.in_transaction()
    for (table,) in connection.execute(_VACUUMED).all():
        lock = f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"
        wait = f"PERFORM set_config('lock_timeout', '{_SECONDS}s', true); {lock};"
        try:
            connection.execute(text(f"DO $interrupt$ BEGIN {wait} END $interrupt$".replace(":", r"\:")))
        except DBAPIError:  # it is the next attempt at the step itself that has to succeed
            if is_ours:
                connection.rollback()
    if is_ours:
        connection.commit()
