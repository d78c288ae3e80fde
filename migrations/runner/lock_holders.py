"""Finds the sessions that hold table locks, and interrupts autovacuum."""

from collections.abc import Sequence
from contextlib import nullcontext

from sqlalchemy import Connection, text

from migrations.sql.locks import WRITE_BLOCKING_LOCKS, locks_of

_TABLES = """
    SELECT coalesce(indrelid, named.oid) FROM unnest(CAST(:names AS text[])) AS name
    JOIN pg_class AS named ON named.oid = to_regclass(name) LEFT JOIN pg_index ON indexrelid = named.oid
"""
_HOLDERS = text(f"""
    SELECT format('pid %s (%s, %s for %s s) holds %s on %s',
                  pid, coalesce(nullif(application_name, ''), usename, backend_type), state,
                  extract(epoch FROM now() - xact_start)::integer, string_agg(DISTINCT mode, ', '),
                  string_agg(DISTINCT relation::regclass::text, ', '))
    FROM pg_locks JOIN pg_stat_activity USING (pid) JOIN pg_class ON pg_class.oid = relation
    WHERE locktype = 'relation' AND granted AND pid <> pg_backend_pid() AND datname = current_database()
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace) AND relkind IN ('r', 'p')
      AND (cardinality(CAST(:names AS text[])) = 0 OR relation IN ({_TABLES}))
    GROUP BY pid, application_name, usename, backend_type, state, xact_start
    ORDER BY xact_start LIMIT 3
""")
_NAMES = text(f"SELECT DISTINCT found::regclass::text FROM ({_TABLES}) AS tables (found)")


def tables_in_statement(statement: str | None, *, write_blocked: bool = False) -> list[str]:
    """Return the SQL names of the tables and indexes that a statement locks, or only those it blocks for writes."""
    return [
        name
        for name, mode in locks_of((statement or "").strip()).items()
        if name.count('"') % 2 == 0 and (not write_blocked or mode in WRITE_BLOCKING_LOCKS)
    ]


def describe_lock_holders(connection: Connection | None, names: Sequence[str]) -> str:
    """Describe the sessions with locks on these tables (or on any table), oldest transaction first."""
    if connection is None:
        return ""
    holders = [str(holder) for (holder,) in connection.execute(_HOLDERS, {"names": list(names)})]
    return "; ".join(holders) or "the lock is free again; run the migration again"


def interrupt_autovacuum(connection: Connection, names: Sequence[str], timeout_seconds: float) -> None:
    """Make autovacuum release these tables.

    PostgreSQL cancels autovacuum after another session has waited for it for deadlock_timeout. The lock requested here
    does not block reads or writes. A lock held by another session is ignored.
    """
    if not names:
        return
    with nullcontext() if connection.in_transaction() else connection.begin():
        for (table,) in connection.execute(_NAMES, {"names": list(names)}).all():
            connection.exec_driver_sql(f"""
                DO $$ BEGIN
                    PERFORM set_config('lock_timeout', '{round(1000 * timeout_seconds)}', true);
                    LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE;
                EXCEPTION WHEN lock_not_available OR deadlock_detected OR query_canceled THEN NULL;
                END $$
            """)
