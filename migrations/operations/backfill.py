"""Updates all rows of a live table in batches along a key, each in one transaction, with pauses.

Each batch stores its checkpoint in its transaction, so a killed migration continues after the last committed batch.
A trigger or the running release must set the column in rows that are written during the backfill.
"""

import json
import time
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from migrations.operations.backfill_sql import BackfillSpec, BackfillStatements, Computation
from migrations.operations.checkpoints import CheckpointStore
from migrations.operations.steps import StepRunner
from migrations.runner.lock_retry import MigrationError, retry_on_lock_timeout

TARGET_SECONDS = 0.05
"""The duration of a batch. It delays writers of the batch's rows, and commits that wait for the WAL."""
INITIAL_ROWS = 10
_GROWTH_FACTOR = 2.0
"""The maximum change per batch, because one slow batch may have waited for a lock."""
REPORT_INTERVAL_SECONDS = 10.0

_TYPE = """
    SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(:table)) AND attname = :column AND NOT attisdropped
"""
_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(quote_ident(:table))"


class Progress:
    """Reports the rows, the rate and the remaining time of one run every ten seconds. The total is an estimate."""

    def __init__(self, report: Callable[[str], None], title: str, estimate: int, *, start: int) -> None:
        self._report = report
        self._title = title
        self._estimate = estimate
        self._start = start
        self._started = self._reported = time.monotonic()
        if start:
            report(f"{title}: continues after {start:,} rows")

    def update(self, rows: int) -> None:
        """Report the number of updated rows, if the last report is old."""
        now = time.monotonic()
        if now - self._reported >= REPORT_INTERVAL_SECONDS:
            self._reported = now
            rate = (rows - self._start) / (now - self._started)
            text = f"{self._title}: {rows:,} rows of about {max(rows, self._estimate):,}, {rate:,.0f}/s"
            left = (self._estimate - rows) / rate if rate else 0
            self._report(f"{text}, about {left:,.0f} s left" if left > 0 else text)

    def finish(self, rows: int) -> None:
        """Report the total."""
        self._report(f"{self._title}: done, {rows:,} rows in {time.monotonic() - self._started:.1f} s")


def next_batch_size(rows: int, seconds: float, max_rows: int) -> int:
    """Return the size of the next batch from the size and duration of the last one."""
    factor = min(_GROWTH_FACTOR, max(1 / _GROWTH_FACTOR, TARGET_SECONDS / max(seconds, 1e-9)))
    return max(1, min(max_rows, round(rows * factor)))


def run_backfill(run: StepRunner, spec: BackfillSpec) -> None:
    """Run a backfill, or continue it after its checkpoint; offline, write it as a script."""
    checkpoints = CheckpointStore(run, str(spec))
    sql = BackfillStatements(spec, run.quote, checkpoints.condition)
    if run.offline:
        run.run_concurrently(sql.script(run.policy.limits()["lock_timeout"]))
    elif not (checkpoint := checkpoints.start_or_resume()).finished:
        with run.limited(statement_timeout=0):
            _update_all(run, spec, sql, checkpoints, checkpoint)
        checkpoints.finish()


def _update_all(
    run: StepRunner, spec: BackfillSpec, sql: BackfillStatements, checkpoints: CheckpointStore, checkpoint: Row[Any]
) -> None:
    types = [_type_of(run, spec.table_name, column) for column in spec.key]
    (estimate,) = run.fetch_one(_ESTIMATE, table=spec.table_name) or (0,)
    report = run.context.opts["report"]
    progress = Progress(report, f"backfill of {spec.table_name}", estimate, start=checkpoint.done)
    rows = min(INITIAL_ROWS, spec.batch_size)
    build = sql.batch_statement if spec.computation is None else sql.read_statement
    while True:
        run.running.require_lock()
        started = time.monotonic()
        batch = _run_batch(run, sql, spec.computation, build(checkpoint.last, types, rows), types)
        rows = next_batch_size(rows, time.monotonic() - started, spec.batch_size)
        if batch is None:
            # The table has no more rows, or the session of a killed process has moved the checkpoint.
            last, checkpoint = checkpoint.last, checkpoints.read()
            if checkpoint.last == last:
                break
        elif batch.last == checkpoint.last:
            raise MigrationError(
                f"Backfill of {spec.table_name} makes no progress after key {', '.join(batch.last)}. "
                "Is the key column unique and not NULL?"
            )
        else:
            has_updates = batch.done > checkpoint.done
            checkpoint = batch
            progress.update(checkpoint.done)
            time.sleep(spec.pause if has_updates else 0)
    progress.finish(checkpoint.done)


def _run_batch(
    run: StepRunner, sql: BackfillStatements, computation: Computation | None, statement: str, types: Sequence[str]
) -> Row[Any] | None:
    """Run a batch; after a lock timeout, release its row locks and retry."""

    def attempt() -> Row[Any] | None:
        if computation is None:
            return run.fetch_one(statement)
        with run.transaction():
            scanned = run.fetch_all(statement)
            if not scanned:
                return None
            computed = [
                dict(zip(sql.key_names, key, strict=True)) | _compute(computation, inputs)
                for key, is_matching, *inputs in map(tuple, scanned)
                if is_matching
            ]
            parameter = json.dumps(computed, default=_to_text, ensure_ascii=False)
            return run.fetch_one(sql.write_statement(scanned[-1][0], types), computed=parameter)

    return retry_on_lock_timeout(
        run.context,
        attempt,
        current_step=lambda: f"backfilling {sql.table}",
        completed_work=lambda: "completed batches are kept; run the migration again to continue",
        tables=[sql.table],
    )


def _compute(computation: Computation, inputs: Sequence[Any]) -> dict[str, Any]:
    values = computation.function(*inputs)
    return {name: values[name] for name in computation.types}


def _to_text(value: object) -> str:
    """Return a value that JSON lacks in the syntax of PostgreSQL."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, UUID | date | Decimal):
        return str(value)
    raise TypeError(f"a computation returned a value of the type {type(value).__name__}")


def _type_of(run: StepRunner, table: str, column: str) -> str:
    found = run.fetch_one(_TYPE, table=table, column=column)
    if found is None:
        raise MigrationError(f"Backfill of {table}: the key column {column} does not exist.")
    if not found.attnotnull:
        raise MigrationError(f"Backfill of {table}: the key column {column} is nullable; use NOT NULL columns.")
    return str(found[0])
