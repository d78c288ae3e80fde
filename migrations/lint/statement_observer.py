"""What a statement of a revision does to a table in use: read in its own transaction, before that is committed."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import Engine, event

from migrations.call_origin import called_by_revision, called_by_safe_operation
from migrations.lock_analysis import LOCK_MODES_BY_STRENGTH, WRITE_BLOCKING_LOCKS, locks_of

_OURS = "c.relnamespace = 'public'::regnamespace AND c.relname !~ '^alembic'"
_LOCKS = f"""
    SELECT c.oid, c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.locktype = 'relation' AND l.granted AND l.pid = %s AND c.relkind IN ('r', 'p') AND {_OURS}
"""
_FILES = f"SELECT c.oid, c.relname, c.relfilenode FROM pg_class c WHERE c.relkind IN ('r', 'i') AND {_OURS}"
_COUNTED = f"""
    SELECT c.oid,
        pg_stat_get_xact_tuples_returned(c.oid)
        + (SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0) FROM pg_index WHERE indrelid = c.oid),
        pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid)
        + pg_stat_get_xact_tuples_deleted(c.oid)
    FROM pg_class c WHERE c.relkind = 'r' AND {_OURS}
"""
_ROWS = f"SELECT c.oid, greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.relkind = 'r' AND {_OURS}"
_BOOKKEEPING = re.compile(
    r"\s*(?:SELECT|SHOW|SET|RESET"
    r"|(?:CREATE TABLE(?: IF NOT EXISTS)?|DROP TABLE|INSERT INTO|UPDATE|DELETE FROM) alembic_)",
    re.IGNORECASE,
)
_BY_ITSELF = re.compile(r"\bCONCURRENTLY\b|^\s*VACUUM\b", re.IGNORECASE)
_RowCounts = Mapping[int, tuple[int, int]]


@dataclass(slots=True)
class StatementReport:
    """A statement: the strongest lock by table; the tables (or indexes) it scanned, wrote anew, or wrote half of.

    Of batches, `milliseconds` are the longest one's and `total` those of all. `blocked_milliseconds` are those for
    which writers were stopped by then, in the same transaction. `from_safe_operation` is what a safe operation has run.
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
        """The tables on which it stops writers, or worse."""
        return sorted(table for table, mode in self.locks.items() if mode in WRITE_BLOCKING_LOCKS)


@dataclass(slots=True)
class _Before:
    wrapped: bool
    files: Mapping[int, tuple[str, int]]
    counted: _RowCounts
    rows: Mapping[int, int]
    began: float = 0.0
    sampler: "_Sampler | None" = None


class StatementObserver:
    """Watches the statements of an engine over psycopg; `reports` has them in order, equal ones as one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._before: _Before | None = None
        self._held = 0.0
        self._undoing = False
        self.reports: list[StatementReport] = []

    @contextmanager
    def watching(self, *, undoing: bool = False) -> Iterator[None]:
        """Watch for as long as the block, in which revisions are applied or undone."""
        self._undoing = undoing
        listeners: dict[str, Callable[..., None]] = {
            "before_cursor_execute": self._starts,
            "after_cursor_execute": self._ends,
            "handle_error": self._fails,
            "commit": self._transaction_ends,
            "rollback": self._transaction_ends,
        }
        for name, listener in listeners.items():
            event.listen(self._engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners.items():
                event.remove(self._engine, name, listener)

    def _starts(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not called_by_revision() or (called_by_safe_operation() and _BOOKKEEPING.match(statement)):
            return
        raw: psycopg.Connection[Any] = connection.connection.driver_connection
        by_itself = raw.autocommit and _BY_ITSELF.search(statement) is not None
        # What commits itself is wrapped, so that there is a moment after it and before its end.
        wrapped = raw.autocommit and not by_itself
        if wrapped:
            raw.execute("BEGIN")
        self._before = _Before(wrapped, _files(raw), _row_counts(raw), dict(_rows(raw, _ROWS)))
        if by_itself:
            self._before.sampler = _Sampler(self._engine, raw.info.backend_pid)
        self._before.began = time.perf_counter()

    def _ends(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        before, self._before = self._before, None
        if before is None:
            return
        milliseconds = 1000 * (time.perf_counter() - before.began)
        seen = StatementReport(" ".join(statement.split()).replace("%%", "%"), milliseconds, milliseconds)
        seen.from_safe_operation, seen.is_downgrade = called_by_safe_operation(), self._undoing
        raw: psycopg.Connection[Any] = connection.connection.driver_connection
        if before.sampler is None:
            seen.locks = _strongest(
                row for row in _rows(raw, _LOCKS, raw.info.backend_pid) if before.rows.get(row[0], 0) > 0
            )
        else:
            # What was over before it was seen is known from the words.
            seen.locks = before.sampler.stop() or locks_of(statement)
        names = {oid: name for oid, (name, _) in before.files.items()}
        for oid, counts in _row_counts(raw).items():
            read, written = (
                2 * (now - then) for now, then in zip(counts, before.counted.get(oid, (0, 0)), strict=True)
            )
            seen.scanned |= {names[oid]} if 0 < before.rows.get(oid, 0) <= read else set()
            seen.written |= {names[oid]} if 0 < before.rows.get(oid, 0) <= written else set()
        after = _files(raw)
        seen.rewritten = {name for oid, (name, file) in before.files.items() if after.get(oid, (name, file))[1] != file}
        if seen.write_blocked_tables:
            self._held += milliseconds
            seen.blocked_milliseconds = self._held
        if before.wrapped:
            raw.execute("COMMIT")
            self._held = 0.0
        self._note(seen)

    def _transaction_ends(self, _connection: Any) -> None:
        self._held = 0.0

    def _fails(self, context: Any) -> None:
        before, self._before = self._before, None
        if before is not None and before.wrapped:
            context.connection.connection.driver_connection.execute("ROLLBACK")
        if before is not None and before.sampler is not None:
            before.sampler.stop()

    def _note(self, seen: StatementReport) -> None:
        last = self.reports[-1] if self.reports else None
        if last is None or last.statement[:60] != seen.statement[:60] or not seen.statement.startswith("WITH "):
            self.reports.append(seen)
            return
        last.executions += 1
        last.total += seen.total
        last.milliseconds = max(last.milliseconds, seen.milliseconds)
        last.blocked_milliseconds = max(last.blocked_milliseconds, seen.blocked_milliseconds)
        last.scanned |= seen.scanned


class _Sampler:
    """Looks again and again at the locks of a session whose statement bears no transaction around it."""

    def __init__(self, engine: Engine, pid: int) -> None:
        self._pid = pid
        self._rows: set[tuple[int, str, str]] = set()
        self._stopped = threading.Event()
        connect: Any = engine.raw_connection()
        self._pooled = connect
        connect.driver_connection.autocommit = True  # without a transaction that the statement would wait for
        self._rows.update(_rows(connect.driver_connection, _LOCKS, pid))
        self._thread = threading.Thread(target=self._sample, args=(connect.driver_connection,))
        self._thread.start()

    def _sample(self, raw: psycopg.Connection[Any]) -> None:
        while not self._stopped.wait(0.001):
            self._rows.update(_rows(raw, _LOCKS, self._pid))

    def stop(self) -> dict[str, str]:
        """Return the strongest lock on each table, of those seen."""
        self._stopped.set()
        self._thread.join()
        self._pooled.close()
        return _strongest(self._rows)


def _strongest(rows: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for _, table, name in rows:
        mode = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Lock")).upper()
        if mode != "ACCESS SHARE" and LOCK_MODES_BY_STRENGTH.index(mode) >= LOCK_MODES_BY_STRENGTH.index(
            found.get(table, mode)
        ):
            found[table] = mode
    return found


def _row_counts(raw: psycopg.Connection[Any]) -> _RowCounts:
    """Return, by table, how many rows the transaction has read and how many it has written."""
    return {oid: (int(read), int(written)) for oid, read, written in _rows(raw, _COUNTED)}


def _files(raw: psycopg.Connection[Any]) -> dict[int, tuple[str, int]]:
    return {oid: (name, file) for oid, name, file in _rows(raw, _FILES)}


def _rows(raw: psycopg.Connection[Any], question: str, *parameters: Any) -> Any:
    return raw.execute(question.encode(), parameters).fetchall()
