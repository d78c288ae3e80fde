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

from migrations.operations.backfill_sql import PASSES, BackfillSpec, BackfillStatements, Computation
from migrations.operations.checkpoints import Checkpoint, CheckpointStore
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
    if run.offline:
        sql = BackfillStatements(spec, run.quote, checkpoints.condition, [])
        run.run_concurrently(sql.script(run.policy.limits()["lock_timeout"]))
    elif not (checkpoint := checkpoints.start_or_resume()).finished:
        types = [_type_of(run, spec.table_name, column) for column in spec.key]
        sql = BackfillStatements(spec, run.quote, checkpoints.condition, types)
        with run.limited(statement_timeout=0):
            _update_all(run, spec, sql, checkpoints, checkpoint)
        checkpoints.finish()


def _update_all(
    run: StepRunner, spec: BackfillSpec, sql: BackfillStatements, checkpoints: CheckpointStore, checkpoint: Checkpoint
) -> None:
    (estimate,) = run.fetch_one(_ESTIMATE, table=spec.table_name) or (0,)
    report = run.context.opts["report"]
    progress = Progress(report, f"backfill of {spec.table_name}", estimate, start=checkpoint.done)
    rows = min(INITIAL_ROWS, spec.batch_size)
    while True:
        run.running.require_lock()
        previous = checkpoint
        left = previous.planned - previous.position
        size = max(1, min(rows, previous.planned // PASSES, left)) if left else rows
        started = time.monotonic()
        reached = _run_step(run, sql, spec.computation, previous, size)
        seconds = time.monotonic() - started
        checkpoint = reached or checkpoints.read()  # the session of a killed process may have moved it
        if left:
            progress.update(checkpoint.done)
            time.sleep(min(spec.pause, seconds) if checkpoint.done > previous.done else 0)
            if checkpoint.position < checkpoint.planned:  # the last batch of a chunk may be small
                rows = next_batch_size(size, seconds, spec.batch_size)
        elif checkpoint == previous:
            break
        elif checkpoint.last == previous.last:
            raise MigrationError(
                f"Backfill of {spec.table_name} makes no progress after key {', '.join(previous.last or ())}. "
                "Is the key column unique and not NULL?"
            )
    progress.finish(checkpoint.done)


def _run_step(
    run: StepRunner, sql: BackfillStatements, computation: Computation | None, checkpoint: Checkpoint, size: int
) -> Checkpoint | None:
    """Plan a chunk, or run a batch of `size` rows; after a lock timeout, release its row locks and retry.

    Return the new checkpoint, or None if the table has no more rows or the checkpoint has moved.
    """

    def attempt() -> Row[Any] | None:
        if checkpoint.position == checkpoint.planned:
            return run.fetch_one(sql.plan_statement(checkpoint, size))
        if computation is None:
            return run.fetch_one(sql.batch_statement(checkpoint, size))
        with run.transaction():
            rows = run.fetch_all(sql.read_statement(checkpoint, size))
            keys = len(sql.key_names)
            computed = [
                dict(zip(sql.key_names, row[:keys], strict=True)) | _compute(computation, row[keys:])
                for row in map(tuple, rows)
            ]
            parameter = json.dumps(computed, default=_to_text, ensure_ascii=False)
            return run.fetch_one(sql.write_statement(checkpoint, size), computed=parameter)

    reached = retry_on_lock_timeout(
        run.context,
        attempt,
        current_step=lambda: f"backfilling {sql.table}",
        completed_work=lambda: "completed batches are kept; run the migration again to continue",
        tables=[sql.table],
    )
    return reached and Checkpoint._make(reached)


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
