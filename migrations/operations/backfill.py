"""Updates all rows of a live table in batches along a key, each in one transaction, with pauses.

Each batch stores its checkpoint in its transaction, so a killed migration continues after the last committed batch.
A trigger or the running release must set the column in rows that are written during the backfill.
"""

import time
from collections.abc import Sequence
from typing import Any

from alembic.operations import Operations
from sqlalchemy import Row

from migrations.operations.backfill_sql import BackfillSpec, BackfillStatements
from migrations.operations.batch_size import AdaptiveBatchSize
from migrations.operations.checkpoints import Checkpoint, CheckpointStore
from migrations.operations.progress_bar import ProgressBar
from migrations.operations.steps import StepRunner, steps
from migrations.runner.lock_retry import MigrationError, retry_on_lock_timeout

_TYPE = """
    SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(:table)) AND attname = :column AND NOT attisdropped
"""
_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(quote_ident(:table))"


@Operations.register_operation("backfill")
class BackfillOperation:
    """The method of `op` for backfills."""

    @classmethod
    def backfill(
        cls,
        operations: Operations,
        table_name: str,
        assignments: str,
        *,
        where: str = "TRUE",
        key: Sequence[str] = ("id",),
        batch: int = 1000,
        pause: float = 0.02,
    ) -> None:
        """Run UPDATE table_name SET assignments WHERE where, in batches.

        Every matching row is updated once, even if the migration is killed and started again. A batch scans at most
        `batch` rows. The batch size shrinks if a batch holds its row locks too long. After a batch with updates, the
        backfill waits `pause` seconds.

        `key` has columns that are unique together and NOT NULL, and that are the first columns of an index. The best
        key follows the order of insertion, because a batch then changes few pages.
        """
        spec = BackfillSpec(table_name, assignments, where, key, batch, pause)
        with steps(operations, f"backfilling {table_name}") as run:
            checkpoints = CheckpointStore(run, str(spec))
            sql = BackfillStatements(spec, run.quote, checkpoints.condition)
            if run.offline:
                run.run_concurrently(sql.script(run.policy.limits()["lock_timeout"]))
            elif not checkpoints.start_or_resume().finished:
                with run.limited(statement_timeout=0):
                    _update_all(run, spec, sql, checkpoints)
                checkpoints.finish()


def _update_all(run: StepRunner, spec: BackfillSpec, sql: BackfillStatements, checkpoints: CheckpointStore) -> None:
    types = [_type_of(run, spec.table_name, column) for column in spec.key]
    checkpoint = checkpoints.read()
    estimate = run.fetch_one(_ESTIMATE, table=spec.table_name)
    title = f"backfill of {spec.table_name}"
    progress = ProgressBar(run.context, title, estimate[0] if estimate else 0, start=checkpoint.updated_rows)
    size = AdaptiveBatchSize(spec.batch_size)
    while True:
        run.running.require_lock()
        started = time.monotonic()
        batch = _run_batch(run, sql.table, sql.batch_statement(checkpoint.last_key, types, size.rows))
        size.record_duration(time.monotonic() - started)
        if batch is None:
            # The table has no more rows, or the session of a killed process has moved the checkpoint.
            last_key, checkpoint = checkpoint.last_key, checkpoints.read()
            if checkpoint.last_key == last_key:
                break
        elif batch.last == checkpoint.last_key:
            raise MigrationError(
                f"Backfill of {spec.table_name} makes no progress after key {', '.join(batch.last)}. "
                "Is the key column unique and not NULL?"
            )
        else:
            has_updates = batch.done > checkpoint.updated_rows
            checkpoint = Checkpoint(batch.last, batch.done)
            progress.update(checkpoint.updated_rows)
            time.sleep(spec.pause if has_updates else 0)
    progress.finish(checkpoint.updated_rows)


def _run_batch(run: StepRunner, table: str, statement: str) -> Row[Any] | None:
    """Run a batch; after a lock timeout, release its row locks and retry."""
    return retry_on_lock_timeout(
        run.context,
        lambda: run.fetch_one(statement),
        current_step=lambda: f"backfilling {table}",
        completed_work=lambda: "completed batches are kept; run the migration again to continue",
        tables=[table],
    )


def _type_of(run: StepRunner, table: str, column: str) -> str:
    found = run.fetch_one(_TYPE, table=table, column=column)
    if found is None:
        raise MigrationError(f"Backfill of {table}: the key column {column} does not exist.")
    if not found.attnotnull:
        raise MigrationError(f"Backfill of {table}: the key column {column} is nullable; use NOT NULL columns.")
    return str(found[0])
