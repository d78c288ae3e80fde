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

from migrations.current import current
from migrations.operations.batches import Batches, Filling
from migrations.operations.pace import Pace
from migrations.operations.places import Place, Places
from migrations.operations.progress import Progress
from migrations.operations.steps import Steps, limited, steps
from migrations.patience import MigrationError, patience_of, patiently

_TYPE = """
    SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(:table)) AND attname = :column AND NOT attisdropped
"""
_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(quote_ident(:table))"


@Operations.register_operation("backfill")
@dataclass
class BackfillOp(MigrateOperation):
    """UPDATE, in batches."""

    filling: Filling

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
        operations.invoke(cls(Filling(table_name, assignments, where, key, batch, pause)))


@Operations.implementation_for(BackfillOp)
def _backfill(operations: Operations, operation: BackfillOp) -> None:
    filling = operation.filling
    with steps(operations, f"backfilling {filling.table_name}") as run:
        places = Places(run, current(operations.get_context()), str(filling))
        sql = Batches(operations, filling, places.row)
        if run.offline:
            run.long(sql.script(patience_of(operations.get_context()).limits()["lock_timeout"]))
            return
        place = places.begun()
        if not place.finished:
            with limited(operations, {"statement_timeout": 0}):
                _fill(operations.get_context(), run, filling, sql, places)
            places.finish()


def _fill(context: MigrationContext, run: Steps, filling: Filling, sql: Batches, places: Places) -> None:
    """Fill batch by batch, from where the last run ended; wait shortly for a row that is locked, and again later."""
    types = [_type_of(run, filling.table_name, column) for column in filling.key]
    place = places.read()
    estimate = run.asked(_ESTIMATE, table=filling.table_name)
    progress = Progress(
        context, f"backfill of {filling.table_name}", estimate[0] if estimate else 0, begins_at=place.done
    )
    pace = Pace(filling.batch)
    while True:
        current(context).still_alone()
        with pace.timed():
            moved = _batch(context, run, sql, sql.batch(place.last, types, pace.size), filling)
        if moved is None:
            # It is at the end, or did not go on from the right place.
            last, place = place.last, places.read()
            if place.last == last:
                break
        elif moved.last == place.last:
            raise MigrationError(f"backfilling {filling.table_name}: it does not get beyond {', '.join(moved.last)}")
        else:
            wrote = moved.done > place.done
            place = Place(moved.last, moved.done, finished=False)
            progress.advanced(place.done)
            time.sleep(filling.pause if wrote else 0)
    progress.ended(place.done)


def _batch(context: MigrationContext, run: Steps, sql: Batches, statement: str, filling: Filling) -> Row[Any] | None:
    return patiently(
        context,
        lambda: run.asked(statement),
        doing=f"backfilling {filling.table_name}",
        left="done is what a repetition goes on after",
        on=[sql.table],
    )


def _type_of(run: Steps, table: str, column: str) -> str:
    found = run.asked(_TYPE, table=table, column=column)
    if found is None:
        raise MigrationError(f"backfilling {table}: it has no column {column}")
    if not found.attnotnull:
        raise MigrationError(f"backfilling {table}: its key {column} may be NULL")
    return str(found[0])
