"""Filling a column of a table that is in use: batch by batch along a key, each batch a transaction, with pauses.

Where it stands is stored in the transaction of each batch, so that it goes on there after a kill -9. Rows that are
written meanwhile behind it are the business of whoever writes them: a trigger or the release that runs.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Row

from migrations.current import current
from migrations.indexes import quoted
from migrations.pace import Pace
from migrations.patience import MigrationError, patiently
from migrations.places import TABLE, Place, Places, literal
from migrations.progress import Progress
from migrations.steps import Steps, limited, steps

_TYPE = """
    SELECT format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(:table)) AND attname = :column AND NOT attisdropped
"""
_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(quote_ident(:table))"


@Operations.register_operation("backfill")
@dataclass
class BackfillOp(MigrateOperation):
    """UPDATE, in batches."""

    table_name: str
    assignments: str
    where: str
    key: Sequence[str]
    batch: int
    pause: float

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
        """Run UPDATE table_name SET assignments WHERE where, `batch` rows at a time at most, `pause` seconds apart.

        There are fewer where a batch takes longer than others should wait for its rows, and for its commit.
        `key` are columns, never NULL, that together are unique and start an index. Every row that matches is updated
        once, however often the migration is killed and started again.
        """
        operations.invoke(cls(table_name, assignments, where, key, batch, pause))

    @property
    def what(self) -> str:
        """The whole as one statement, which is not run."""
        return f"UPDATE {self.table_name} SET {self.assignments} WHERE {self.where}"

    def reverse(self) -> MigrateOperation:
        """There is nothing to undo: the column goes, or is filled again."""
        raise NotImplementedError("a backfill is not undone")


class BackfillSql:
    """The statements of a backfill. A place is the key of the last row that was updated, as text."""

    def __init__(self, operations: Operations, operation: BackfillOp, row: str) -> None:
        self._operation = operation
        self._row = row
        self.table = quoted(operations, operation.table_name)
        self._columns = [f"t.{quoted(operations, column)}" for column in operation.key]
        self._names = [f"k{number}_" for number in range(len(operation.key))]

    def rows(self, last: Sequence[str] | None, types: Sequence[str]) -> str:
        """Return what stands after FROM for the rows after that place."""
        after = (
            "" if last is None else self._after(f"CAST({literal(k)} AS {t})" for k, t in zip(last, types, strict=True))
        )
        return f"{self.table} AS t WHERE {after}({self._operation.where})"

    def batch(self, last: Sequence[str] | None, types: Sequence[str], size: int) -> str:
        """Return the statement of a batch after that place; it returns the new place and the rows so far.

        Nothing happens when that is not the place any more: the session of a killed process may be at its last batch.
        """
        place = f"ARRAY[{', '.join(f'{name}::text' for name in self._names)}]"
        return f"""
            WITH s AS MATERIALIZED (
                SELECT FROM {TABLE} WHERE {self._row} AND last IS NOT DISTINCT FROM {_array(last)} FOR UPDATE
            ), {self._changed(f"{self.rows(last, types)} AND EXISTS (SELECT FROM s)", size)},
            l AS (SELECT {place} AS last FROM b ORDER BY {self._backwards} LIMIT 1)
            UPDATE {TABLE} SET last = l.last, done = done + (SELECT count(*) FROM b) FROM l
            WHERE {self._row} RETURNING {TABLE}.last, done"""

    def script(self) -> str:
        """Return all batches as a block, for psql outside a transaction; it starts anew when it is run again."""
        places = [f"v{number}_" for number in range(len(self._names))]
        declared = "".join(
            f"{place} {self.table}.{column.removeprefix('t.')}%TYPE; "
            for place, column in zip(places, self._columns, strict=True)
        )
        rows = (
            f"{self.table} AS t WHERE ({places[0]} IS NULL OR {self._after(places)}TRUE) AND ({self._operation.where})"
        )
        return f"""DO $backfill$ DECLARE {declared}BEGIN
            PERFORM set_config('plan_cache_mode', 'force_custom_plan', false);
            LOOP
                WITH {self._changed(rows, self._operation.batch)}
                SELECT {", ".join(self._names)} INTO {", ".join(places)} FROM b ORDER BY {self._backwards} LIMIT 1;
                EXIT WHEN NOT FOUND;
                COMMIT;
                PERFORM pg_sleep({self._operation.pause});
            END LOOP;
        END $backfill$"""

    @property
    def _backwards(self) -> str:
        return ", ".join(f"{name} DESC" for name in self._names)

    def _after(self, place: Iterable[str]) -> str:
        return f"({', '.join(self._columns)}) > ({', '.join(place)}) AND "

    def _changed(self, rows: str, size: int) -> str:
        pairs = list(zip(self._columns, self._names, strict=True))
        return f"""b AS MATERIALIZED (
                SELECT {", ".join(f"{column} AS {name}" for column, name in pairs)} FROM {rows}
                ORDER BY {", ".join(self._columns)} LIMIT {size} FOR NO KEY UPDATE OF t
            ), changed AS (
                UPDATE {self.table} AS t SET {self._operation.assignments} FROM b
                WHERE {" AND ".join(f"{column} = {name}" for column, name in pairs)}
            )"""


def _array(place: Sequence[str] | None) -> str:
    return "NULL" if place is None else f"ARRAY[{', '.join(map(literal, place))}]"


@Operations.implementation_for(BackfillOp)
def _backfill(operations: Operations, operation: BackfillOp) -> None:
    with steps(operations, f"backfilling {operation.table_name}") as run:
        places = Places(run, current(operations.get_context()), operation.what)
        sql = BackfillSql(operations, operation, places.row)
        if run.offline:
            run.long(sql.script())
            return
        place = places.begun()
        if not place.finished:
            with limited(operations, {"statement_timeout": 0}):
                _fill(operations.get_context(), run, operation, sql, places)
            places.finish()


def _fill(context: MigrationContext, run: Steps, operation: BackfillOp, sql: BackfillSql, places: Places) -> None:
    """Fill batch by batch, from where the last run ended; wait shortly for a row that is locked, and again later."""
    types = [_type_of(run, operation.table_name, column) for column in operation.key]
    place = places.read()
    estimate = run.asked(_ESTIMATE, table=operation.table_name)
    progress = Progress(
        context, f"backfill of {operation.table_name}", estimate[0] if estimate else 0, begins_at=place.done
    )
    pace = Pace(operation.batch)
    while True:
        current(context).still_alone()
        with pace.timed():
            moved = _batch(context, run, sql, sql.batch(place.last, types, pace.size), operation)
        if moved is not None:
            place = Place(moved.last, moved.done, finished=False)
            progress.advanced(place.done)
        else:
            # No row, or others took every one while it waited for them, or it did not go on from the right place.
            place = places.read()
            if not run.holds(f"FROM {sql.rows(place.last, types)} LIMIT 1"):
                break
        time.sleep(operation.pause)
    progress.ended(place.done)


def _batch(
    context: MigrationContext, run: Steps, sql: BackfillSql, statement: str, operation: BackfillOp
) -> Row[Any] | None:
    return patiently(
        context,
        lambda: run.asked(statement),
        doing=f"backfilling {operation.table_name}",
        left="done is what a repetition goes on after",
        on=[sql.table],
    )


def _type_of(run: Steps, table: str, column: str) -> str:
    found = run.asked(_TYPE, table=table, column=column)
    if found is None:
        raise MigrationError(f"backfilling {table}: it has no column {column}")
    return str(found[0])
