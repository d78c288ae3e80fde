"""Builds the SQL of a backfill.

A batch takes rows by their key, and then selects the matching ones. If it took matching rows directly, the first one
would stay locked during the search for the others.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from migrations.operations.checkpoints import TABLE
from migrations.operations.steps import quote_literal


@dataclass(frozen=True, slots=True)
class BackfillSpec:
    """UPDATE table_name SET assignments WHERE where, with at most `batch_size` rows per batch."""

    table_name: str
    assignments: str
    where: str
    key: Sequence[str]
    batch_size: int
    pause: float

    def __str__(self) -> str:
        """Return the backfill as one UPDATE, which identifies it."""
        return f"UPDATE {self.table_name} SET {self.assignments} WHERE {self.where}"


class BackfillStatements:
    """The statements of a backfill; `checkpoint` is the SQL condition on its checkpoint row."""

    def __init__(self, spec: BackfillSpec, quote: Callable[[str], str], checkpoint: str) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self.table = quote(spec.table_name)
        self._columns = [f"t.{quote(column)}" for column in spec.key]
        self._names = [f"k{number}_" for number in range(len(spec.key))]

    def batch_statement(self, last: Sequence[str] | None, types: Sequence[str], rows: int) -> str:
        """Return the statement of the batch after key `last`. It returns the new key and the total of updated rows.

        The statement does nothing if the checkpoint has another key: the session of a killed process may still run.
        """
        key = "NULL" if last is None else f"ARRAY[{', '.join(map(quote_literal, last))}]"
        after = "TRUE"
        if last is not None:
            values = zip(last, types, strict=True)
            after = self._after(f"CAST({quote_literal(value)} AS {kind})" for value, kind in values)
        return f"""
            WITH s AS MATERIALIZED (
                SELECT FROM {TABLE} WHERE {self._checkpoint} AND last IS NOT DISTINCT FROM {key} FOR UPDATE
            ), {self._batch(f"{after} AND EXISTS (SELECT FROM s)", rows)},
            end_ AS (SELECT ARRAY[{", ".join(f"{name}::text" for name in self._names)}] AS last FROM {self._last_row})
            UPDATE {TABLE} SET last = end_.last, done = done + (SELECT count(*) FROM matching) FROM end_
            WHERE {self._checkpoint} RETURNING {TABLE}.last, done"""

    def script(self, lock_timeout: int) -> str:
        """Return all batches as one DO block, for psql outside a transaction. A second run starts at the beginning.

        After `lock_timeout` milliseconds, a batch releases its row locks. It is retried without limit.
        """
        variables = [f"v{number}_" for number in range(len(self._names))]
        declared = "".join(
            f"{variable} {self.table}.{column.removeprefix('t.')}%TYPE; "
            for variable, column in zip(variables, self._columns, strict=True)
        )
        after = f"({variables[0]} IS NULL OR {self._after(variables)})"
        return f"""DO $backfill$ DECLARE {declared}locked_ boolean; BEGIN
            PERFORM set_config('plan_cache_mode', 'force_custom_plan', false);
            PERFORM set_config('lock_timeout', '{lock_timeout}', false);
            LOOP
                locked_ := false;
                BEGIN
                    WITH {self._batch(after, self._spec.batch_size)}
                    SELECT {", ".join(self._names)} INTO {", ".join(variables)} FROM {self._last_row};
                    EXIT WHEN NOT FOUND;
                EXCEPTION WHEN lock_not_available OR deadlock_detected THEN locked_ := true;
                END;
                COMMIT;
                PERFORM pg_sleep(CASE WHEN locked_ THEN 1 ELSE {self._spec.pause} END);
            END LOOP;
        END $backfill$"""

    @property
    def _last_row(self) -> str:
        return f"scanned ORDER BY {', '.join(f'{name} DESC' for name in self._names)} LIMIT 1"

    def _after(self, key: Iterable[str]) -> str:
        return f"({', '.join(self._columns)}) > ({', '.join(key)})"

    def _batch(self, after: str, rows: int) -> str:
        names = ", ".join(self._names)
        pairs = list(zip(self._columns, self._names, strict=True))
        joined = " AND ".join(f"{column} = {name}" for column, name in pairs)
        # The CASE makes PostgreSQL evaluate the condition for scanned rows only; a plan could start with it otherwise.
        matches = f"CASE WHEN {self._names[0]} IS NOT NULL THEN ({self._spec.where}) END"
        return f"""scanned AS MATERIALIZED (
                SELECT {", ".join(f"{column} AS {name}" for column, name in pairs)} FROM {self.table} AS t
                WHERE {after} ORDER BY {", ".join(self._columns)} LIMIT {rows}
            ), matching AS MATERIALIZED (
                SELECT {names} FROM scanned, {self.table} AS t WHERE {joined} AND {matches}
                ORDER BY {names} FOR NO KEY UPDATE OF t
            ), changed AS (
                UPDATE {self.table} AS t SET {self._spec.assignments} FROM matching WHERE {joined}
            )"""
