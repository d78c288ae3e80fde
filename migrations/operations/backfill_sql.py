"""The SQL of a backfill: a batch is cut out of the table by its key, and then looked through for rows that match.

Were it cut by the rows that match, the first of them would stay locked while the table is searched for the others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alembic.operations import Operations

from migrations.operations.checkpoints import TABLE, quote_literal
from migrations.operations.indexes import quote_identifiers


@dataclass(frozen=True, slots=True)
class BackfillSpec:
    """UPDATE table_name SET assignments WHERE where, looking at `batch` rows at a time along a key."""

    table_name: str
    assignments: str
    where: str
    key: Sequence[str]
    batch_size: int
    pause: float

    def __str__(self) -> str:
        """Return the whole as one statement, which is not run."""
        return f"UPDATE {self.table_name} SET {self.assignments} WHERE {self.where}"


class BackfillStatements:
    """The statements of a backfill. A place is the key of the last row that was looked at, as text.

    `row` is the condition on the row of the table of places.
    """

    def __init__(self, operations: Operations, spec: BackfillSpec, row: str) -> None:
        self._spec = spec
        self._row = row
        self.table = quote_identifiers(operations, spec.table_name)
        self._columns = [f"t.{quote_identifiers(operations, column)}" for column in spec.key]
        self._names = [f"k{number}_" for number in range(len(spec.key))]

    def batch_statement(self, last: Sequence[str] | None, types: Sequence[str], size: int) -> str:
        """Return the statement of a batch after that place; it returns the new place and the rows so far.

        Nothing happens when that is not the place any more: the session of a killed process may be at its last batch.
        """
        place = "NULL" if last is None else f"ARRAY[{', '.join(map(quote_literal, last))}]"
        after = (
            "TRUE"
            if last is None
            else self._after(f"CAST({quote_literal(value)} AS {kind})" for value, kind in zip(last, types, strict=True))
        )
        return f"""
            WITH s AS MATERIALIZED (
                SELECT FROM {TABLE} WHERE {self._row} AND last IS NOT DISTINCT FROM {place} FOR UPDATE
            ), {self._changed(f"{after} AND EXISTS (SELECT FROM s)", size)},
            place AS (SELECT ARRAY[{", ".join(f"{name}::text" for name in self._names)}] AS last FROM {self._upto})
            UPDATE {TABLE} SET last = place.last, done = done + (SELECT count(*) FROM matching) FROM place
            WHERE {self._row} RETURNING {TABLE}.last, done"""

    def script(self, lock_timeout: int) -> str:
        """Return all batches as a block, for psql outside a transaction; it starts anew when it is run again.

        A batch that meets a lock for so many milliseconds lets go of its own, and is tried again, without end.
        """
        places = [f"v{number}_" for number in range(len(self._names))]
        declared = "".join(
            f"{place} {self.table}.{column.removeprefix('t.')}%TYPE; "
            for place, column in zip(places, self._columns, strict=True)
        )
        after = f"({places[0]} IS NULL OR {self._after(places)})"
        return f"""DO $backfill$ DECLARE {declared}locked_ boolean; BEGIN
            PERFORM set_config('plan_cache_mode', 'force_custom_plan', false);
            PERFORM set_config('lock_timeout', '{lock_timeout}', false);
            LOOP
                locked_ := false;
                BEGIN
                    WITH {self._changed(after, self._spec.batch_size)}
                    SELECT {", ".join(self._names)} INTO {", ".join(places)} FROM {self._upto};
                    EXIT WHEN NOT FOUND;
                EXCEPTION WHEN lock_not_available OR deadlock_detected THEN locked_ := true;
                END;
                COMMIT;
                PERFORM pg_sleep(CASE WHEN locked_ THEN 1 ELSE {self._spec.pause} END);
            END LOOP;
        END $backfill$"""

    @property
    def _upto(self) -> str:
        """The last of the rows that were looked at."""
        return f"looked ORDER BY {', '.join(f'{name} DESC' for name in self._names)} LIMIT 1"

    def _after(self, place: Iterable[str]) -> str:
        return f"({', '.join(self._columns)}) > ({', '.join(place)})"

    def _changed(self, after: str, size: int) -> str:
        names = ", ".join(self._names)
        pairs = list(zip(self._columns, self._names, strict=True))
        joined = " AND ".join(f"{column} = {name}" for column, name in pairs)
        # Of no other rows than those that were looked at: a plan might begin with all that match.
        matches = f"CASE WHEN {self._names[0]} IS NOT NULL THEN ({self._spec.where}) END"
        return f"""looked AS MATERIALIZED (
                SELECT {", ".join(f"{column} AS {name}" for column, name in pairs)} FROM {self.table} AS t
                WHERE {after} ORDER BY {", ".join(self._columns)} LIMIT {size}
            ), matching AS MATERIALIZED (
                SELECT {names} FROM looked, {self.table} AS t WHERE {joined} AND {matches}
                ORDER BY {names} FOR NO KEY UPDATE OF t
            ), changed AS (
                UPDATE {self.table} AS t SET {self._spec.assignments} FROM matching WHERE {joined}
            )"""
