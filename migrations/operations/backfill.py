"""Filling a column of a table that is in use: batch by batch along a key, each batch a transaction, with pauses.

Where it stands is stored in the transaction of each batch, so that it goes on there after a kill -9. Rows that are
written meanwhile behind it are the business of whoever writes them: a trigger or the release that runs.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Row

from migrations.operations.backfill_sql import BackfillSpec, BackfillStatements
from migrations.operations.batch_size import AdaptiveBatchSize
from migrations.operations.checkpoints import Checkpoint, CheckpointStore
from migrations.operations.progress_bar import ProgressBar
from migrations.operations.steps import StepRunner, limited, steps
from migrations.runner.lock_retry import MigrationError, policy_of, retry_on_lock_timeout
from migrations.runner.running_revision import running

_TYPE = """
    SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(:table)) AND attname = :column AND NOT attisdropped
"""
_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(quote_ident(:table))"


@Operations.register_operation("backfill")
@dataclass
class BackfillOp(MigrateOperation):
    """UPDATE, in batches."""

    spec: BackfillSpec

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
        """Run UPDATE table_name SET assignments WHERE where, looking at `batch` rows at a time at most.

        There are fewer where a batch takes longer than others should wait for its rows, and for its commit; after one
        that wrote there is a pause of `pause` seconds.
        `key` are columns, never NULL, that together are unique and of which the first start an index; best those in
        whose order the rows were written, so that a batch is on few pages. Every row that matches is updated once,
        however often the migration is killed and started again.
        """
        operations.invoke(cls(BackfillSpec(table_name, assignments, where, key, batch, pause)))


@Operations.implementation_for(BackfillOp)
def _backfill(operations: Operations, operation: BackfillOp) -> None:
    spec = operation.spec
    with steps(operations, f"backfilling {spec.table_name}") as run:
        places = CheckpointStore(run, running(operations.get_context()), str(spec))
        sql = BackfillStatements(operations, spec, places.row)
        if run.offline:
            run.run_concurrently(sql.script(policy_of(operations.get_context()).limits()["lock_timeout"]))
            return
        place = places.start_or_resume()
        if not place.finished:
            with limited(operations, {"statement_timeout": 0}):
                _fill(operations.get_context(), run, spec, sql, places)
            places.finish()


def _fill(
    context: MigrationContext, run: StepRunner, spec: BackfillSpec, sql: BackfillStatements, places: CheckpointStore
) -> None:
    """Fill batch by batch, from where the last run ended; wait shortly for a row that is locked, and again later."""
    types = [_type_of(run, spec.table_name, column) for column in spec.key]
    place = places.read()
    estimate = run.fetch_one(_ESTIMATE, table=spec.table_name)
    progress = ProgressBar(
        context, f"backfill of {spec.table_name}", estimate[0] if estimate else 0, begins_at=place.updated_rows
    )
    pace = AdaptiveBatchSize(spec.batch_size)
    while True:
        running(context).require_lock()
        with pace.measure():
            moved = _batch(context, run, sql, sql.batch_statement(place.last_key, types, pace.size), spec)
        if moved is None:
            # It is at the end, or did not go on from the right place.
            last, place = place.last_key, places.read()
            if place.last_key == last:
                break
        elif moved.last == place.last_key:
            raise MigrationError(f"backfilling {spec.table_name}: it does not get beyond {', '.join(moved.last)}")
        else:
            wrote = moved.done > place.updated_rows
            place = Checkpoint(moved.last, moved.done, finished=False)
            progress.update(place.updated_rows)
            time.sleep(spec.pause if wrote else 0)
    progress.finish(place.updated_rows)


def _batch(
    context: MigrationContext, run: StepRunner, sql: BackfillStatements, statement: str, spec: BackfillSpec
) -> Row[Any] | None:
    return retry_on_lock_timeout(
        context,
        lambda: run.fetch_one(statement),
        current_step=f"backfilling {spec.table_name}",
        completed_work="done is what a repetition goes on after",
        on=[sql.table],
    )


def _type_of(run: StepRunner, table: str, column: str) -> str:
    found = run.fetch_one(_TYPE, table=table, column=column)
    if found is None:
        raise MigrationError(f"backfilling {table}: it has no column {column}")
    if not found.attnotnull:
        raise MigrationError(f"backfilling {table}: its key {column} may be NULL")
    return str(found[0])
