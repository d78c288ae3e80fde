"""Builds the SQL of a backfill.

A batch takes rows by their key, and then selects the matching ones. If it took matching rows directly, the first one
would stay locked during the search for the others.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrations.operations.checkpoints import TABLE
from migrations.operations.steps import escape_colons, quote_literal


@dataclass(frozen=True, slots=True)
class Computation:
    """A function of the values of `columns` in a row. It returns values by name; `types` are their SQL types."""

    function: Callable[..., Mapping[str, Any]]
    columns: Sequence[str]
    types: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BackfillSpec:
    """UPDATE table_name SET assignments WHERE where, with at most `batch_size` rows per batch.

    With a computation, the assignments can use its values as `computed.name`.
    """

    table_name: str
    assignments: str
    where: str
    key: Sequence[str]
    batch_size: int
    pause: float
    computation: Computation | None = None

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
        self.key_names = [f"k{number}_" for number in range(len(spec.key))]
        self._key = f"ARRAY[{', '.join(f'{name}::text' for name in self.key_names)}]"
        computation = spec.computation or Computation(dict, (), {})
        self._inputs = {f"i{number}_": f"t.{quote(column)}" for number, column in enumerate(computation.columns)}
        self._computed = {quote(name): kind for name, kind in computation.types.items()}

    def batch_statement(self, last: Sequence[str] | None, types: Sequence[str], rows: int) -> str:
        """Return the statement of the batch after key `last`. It returns the new key and the total of updated rows.

        The statement does nothing if the checkpoint has another key: the session of a killed process may still run.
        """
        return f"""{self._lock_batch(last, types, rows)}, changed AS ({self._update("matching")}),
            end_ AS (SELECT {self._key} AS last FROM {self._last_row})
            UPDATE {TABLE} SET last = end_.last, done = done + (SELECT count(*) FROM matching) FROM end_
            WHERE {self._checkpoint} RETURNING {TABLE}.last, done"""

    def read_statement(self, last: Sequence[str] | None, types: Sequence[str], rows: int) -> str:
        """Return the statement that locks the batch after key `last` for a computation.

        It returns a row for each scanned one: its key, whether it matches, and its input columns.
        """
        names = ", ".join(self.key_names)
        return f"""{self._lock_batch(last, types, rows)}
            SELECT {", ".join([self._key, f"matching.{self.key_names[0]} IS NOT NULL", *self._inputs])}
            FROM scanned LEFT JOIN matching USING ({names}) ORDER BY {names}"""

    def write_statement(self, last: Sequence[str], types: Sequence[str]) -> str:
        """Return the statement that updates a locked batch, for `sqlalchemy.text`. It returns the same row.

        Its parameter `computed` is a JSON array of objects with the key and the computed values of a row.
        """
        columns = dict(zip(self.key_names, types, strict=True)) | self._computed
        definitions = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        return "WITH input AS (SELECT CAST(:computed AS json) AS rows), " + escape_colons(f"""computed AS MATERIALIZED (
                SELECT {", ".join(columns)} FROM input, json_to_recordset(rows) AS computed ({definitions})
            ), changed AS ({self._update("computed")})
            UPDATE {TABLE} SET last = {_array(last)}, done = done + (SELECT count(*) FROM computed)
            WHERE {self._checkpoint} RETURNING last, done""")

    def script(self, lock_timeout: int) -> str:
        """Return all batches as one DO block, for psql outside a transaction. A second run starts at the beginning.

        After `lock_timeout` milliseconds, a batch releases its row locks. It is retried without limit. SQL cannot run a
        computation: its block raises an exception if a row matches.
        """
        if self._spec.computation is not None:
            reason = f"the backfill of {self._spec.table_name} needs Python: apply its revision with hexapost migrate"
            return f"""DO $backfill$ BEGIN
                IF EXISTS (SELECT FROM {self.table} AS t WHERE {self._spec.where}) THEN
                    RAISE EXCEPTION USING MESSAGE = {quote_literal(reason)};
                END IF;
            END $backfill$"""
        variables = [f"v{number}_" for number in range(len(self.key_names))]
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
                    WITH {self._batch(after, self._spec.batch_size)}, changed AS ({self._update("matching")})
                    SELECT {", ".join(self.key_names)} INTO {", ".join(variables)} FROM {self._last_row};
                    EXIT WHEN NOT FOUND;
                EXCEPTION WHEN lock_not_available OR deadlock_detected THEN locked_ := true;
                END;
                COMMIT;
                PERFORM pg_sleep(CASE WHEN locked_ THEN 1 ELSE {self._spec.pause} END);
            END LOOP;
        END $backfill$"""

    @property
    def _last_row(self) -> str:
        return f"scanned ORDER BY {', '.join(f'{name} DESC' for name in self.key_names)} LIMIT 1"

    def _after(self, key: Iterable[str]) -> str:
        return f"({', '.join(self._columns)}) > ({', '.join(key)})"

    def _lock_batch(self, last: Sequence[str] | None, types: Sequence[str], rows: int) -> str:
        """Return the start of a statement that locks the checkpoint and the matching rows of the batch."""
        after = "TRUE"
        if last is not None:
            values = zip(last, types, strict=True)
            after = self._after(f"CAST({quote_literal(value)} AS {kind})" for value, kind in values)
        return f"""WITH s AS MATERIALIZED (
                SELECT FROM {TABLE} WHERE {self._checkpoint} AND last IS NOT DISTINCT FROM {_array(last)} FOR UPDATE
            ), {self._batch(f"{after} AND EXISTS (SELECT FROM s)", rows)}"""

    def _batch(self, after: str, rows: int) -> str:
        names = ", ".join(self.key_names)
        inputs = "".join(f", {column} AS {name}" for name, column in self._inputs.items())
        pairs = zip(self._columns, self.key_names, strict=True)
        # The CASE makes PostgreSQL evaluate the condition for scanned rows only; a plan could start with it otherwise.
        matches = f"CASE WHEN {self.key_names[0]} IS NOT NULL THEN ({self._spec.where}) END"
        return f"""scanned AS MATERIALIZED (
                SELECT {", ".join(f"{column} AS {name}" for column, name in pairs)} FROM {self.table} AS t
                WHERE {after} ORDER BY {", ".join(self._columns)} LIMIT {rows}
            ), matching AS MATERIALIZED (
                SELECT {names}{inputs} FROM scanned, {self.table} AS t WHERE {self._same_key} AND {matches}
                ORDER BY {names} FOR NO KEY UPDATE OF t
            )"""

    def _update(self, source: str) -> str:
        return f"UPDATE {self.table} AS t SET {self._spec.assignments} FROM {source} WHERE {self._same_key}"

    @property
    def _same_key(self) -> str:
        return " AND ".join(f"{column} = {name}" for column, name in zip(self._columns, self.key_names, strict=True))


def _array(key: Sequence[str] | None) -> str:
    return "NULL" if key is None else f"ARRAY[{', '.join(map(quote_literal, key))}]"
