"""Measures the locks, scans and rewrites of each statement, in its transaction, before the commit."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

from migrations.sql.locks import LOCK_MODES_BY_STRENGTH, WRITE_BLOCKING_LOCKS, locks_of
from migrations.sql.revision_sql import StatementOrigin, statement_origin

_RELATIONS = """
    SELECT c.oid, c.relname, c.relfilenode, CASE c.relkind WHEN 'r' THEN greatest(c.reltuples, 0)::bigint ELSE 0 END,
        pg_stat_get_xact_tuples_returned(c.oid) + (
            SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0)::bigint
            FROM pg_index WHERE indrelid = c.oid
        ),
        pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid)
        + pg_stat_get_xact_tuples_deleted(c.oid),
        ARRAY(
            SELECT upper(regexp_replace(replace(mode, 'Lock', ''), '([a-z])([A-Z])', '\\1 \\2', 'g'))
            FROM pg_locks WHERE locktype = 'relation' AND relation = c.oid AND granted AND pid = pg_backend_pid()
        )
    FROM pg_class c
    WHERE c.relkind IN ('r', 'i') AND c.relnamespace = 'public'::regnamespace AND c.relname !~ '^alembic'
"""
_BOOKKEEPING = re.compile(
    r"\s*(?:SELECT|SHOW|SET|RESET|BEGIN|COMMIT|ROLLBACK"
    r"|(?:CREATE TABLE(?: IF NOT EXISTS)?|DROP TABLE|INSERT INTO|UPDATE|DELETE FROM) alembic_)",
    re.IGNORECASE,
)
_NOT_IN_TRANSACTION = re.compile(r"\bCONCURRENTLY\b|^\s*VACUUM\b", re.IGNORECASE)


@dataclass(slots=True)
class StatementReport:
    """The strongest lock of a statement by table, and the tables of which it scanned or wrote at least half.

    `rewritten` has tables and indexes with a new file. Batches are one report: `milliseconds` is the longest, `total`
    the sum. `blocked_milliseconds` is the time since the transaction began to block writes.
    """

    statement: str
    milliseconds: float
    total: float
    from_safe_operation: bool = False
    is_downgrade: bool = False
    blocked_milliseconds: float = 0.0
    executions: int = 1
    locks: dict[str, str] = field(default_factory=dict)
    scanned: set[str] = field(default_factory=set)
    rewritten: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    @property
    def write_blocked_tables(self) -> list[str]:
        """The tables on which the statement blocks writes."""
        return sorted(table for table, mode in self.locks.items() if mode in WRITE_BLOCKING_LOCKS)


class _Relation(NamedTuple):
    name: str
    file: int
    rows: int
    read: int
    written: int
    lock_modes: Sequence[str] = ()


@dataclass(slots=True)
class _Start:
    """The state before a statement; `wrapped` if the observer opened a transaction around it."""

    wrapped: bool
    relations: dict[int, _Relation]
    began: float


class StatementObserver:
    """Observes the statements of revisions on an engine with psycopg, and collects their reports in order."""

    def __init__(self, engine: Engine) -> None:
        self.reports: list[StatementReport] = []
        self.is_downgrade = False
        self._start: _Start | None = None
        self._blocked_milliseconds = 0.0
        event.listen(engine, "before_cursor_execute", self._before_execute)
        event.listen(engine, "after_cursor_execute", self._after_execute)
        event.listen(engine, "handle_error", self._on_error)
        event.listen(engine, "commit", self._on_transaction_end)
        event.listen(engine, "rollback", self._on_transaction_end)

    def _before_execute(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        origin = statement_origin.get()
        is_bookkeeping = origin is StatementOrigin.SAFE_OPERATION and _BOOKKEEPING.match(statement)
        if origin is StatementOrigin.RUNNER or is_bookkeeping:
            return
        raw: psycopg.Connection[Any] = connection.connection.driver_connection
        is_idle = raw.info.transaction_status is TransactionStatus.IDLE
        wrapped = raw.autocommit and is_idle and not _NOT_IN_TRANSACTION.search(statement)
        if wrapped:
            raw.execute("BEGIN")
        self._start = _Start(wrapped, _relations(raw), time.perf_counter())

    def _after_execute(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        start, self._start = self._start, None
        if start is None:
            return
        milliseconds = 1000 * (time.perf_counter() - start.began)
        raw: psycopg.Connection[Any] = connection.connection.driver_connection
        report = StatementReport(
            " ".join(statement.split()).replace("%%", "%"),
            milliseconds,
            milliseconds,
            from_safe_operation=statement_origin.get() is StatementOrigin.SAFE_OPERATION,
            is_downgrade=self.is_downgrade,
        )
        if raw.info.transaction_status is TransactionStatus.IDLE:  # its locks are already released
            report.locks = locks_of(statement)
        for oid, now in _relations(raw).items():
            then = start.relations.get(oid, _Relation(now.name, now.file, 0, 0, 0))
            if then.rows and (modes := [mode for mode in now.lock_modes if mode != "ACCESS SHARE"]):
                report.locks[now.name] = max(modes, key=LOCK_MODES_BY_STRENGTH.index)
            report.scanned |= {now.name} if 0 < then.rows <= 2 * (now.read - then.read) else set()
            report.written |= {now.name} if 0 < then.rows <= 2 * (now.written - then.written) else set()
            report.rewritten |= {now.name} if now.file != then.file else set()
        if report.write_blocked_tables:
            self._blocked_milliseconds += milliseconds
            report.blocked_milliseconds = self._blocked_milliseconds
        if start.wrapped:
            raw.execute("COMMIT")
            self._blocked_milliseconds = 0.0
        self._add(report)

    def _on_transaction_end(self, _connection: Any) -> None:
        self._blocked_milliseconds = 0.0

    def _on_error(self, context: Any) -> None:
        start, self._start = self._start, None
        if start is not None and start.wrapped:
            context.connection.connection.driver_connection.execute("ROLLBACK")

    def _add(self, report: StatementReport) -> None:
        """Append a report, or merge a batch of a backfill into its last one.

        The statements of a backfill are equal up to the position in its chunk. With a computation it has two.
        """
        start, position, _ = report.statement.partition(" position = ")
        last = next((each for each in self.reports[-2:] if each.statement.startswith(f"{start}{position}")), None)
        if last is None or not position:
            self.reports.append(report)
            return
        last.executions += 1
        last.total += report.total
        last.milliseconds = max(last.milliseconds, report.milliseconds)
        last.blocked_milliseconds = max(last.blocked_milliseconds, report.blocked_milliseconds)
        last.scanned |= report.scanned
        last.locks |= report.locks


def _relations(raw: psycopg.Connection[Any]) -> dict[int, _Relation]:
    return {oid: _Relation(*values) for oid, *values in raw.execute(_RELATIONS.encode()).fetchall()}
