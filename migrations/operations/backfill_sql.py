"""Builds the SQL of a backfill.

An update of neighboring rows in one transaction fills the free space of their page. The later ones move to another
page and insert into every index. The keys of a chunk are therefore planned in an order in which a batch has every 16th
row: its new versions fit in their pages, and the next batch reuses the space of the old versions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrations.operations.checkpoints import COLUMNS, TABLE, Checkpoint
from migrations.operations.steps import escape_colons, quote_literal

PASSES = 16
"""The number of batches that update a page. With 8, 10 % of the updates of posts wrote indexes; with 16, 1 %."""


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
    """The statements of a backfill.

    `checkpoint` is the SQL condition on its checkpoint row. `types` has the types of its key columns. A statement does
    nothing if the checkpoint has moved: the session of a killed process may still run.
    """

    def __init__(self, spec: BackfillSpec, quote: Callable[[str], str], checkpoint: str, types: Sequence[str]) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self.table = quote(spec.table_name)
        self._columns = [f"t.{quote(column)}" for column in spec.key]
        self.key_names = [f"k{number}_" for number in range(len(spec.key))]
        self._types = dict(zip(self.key_names, types, strict=False))
        computation = spec.computation or Computation(dict, (), {})
        self._inputs = {f"i{number}_": f"t.{quote(column)}" for number, column in enumerate(computation.columns)}
        self._computed = {quote(name): kind for name, kind in computation.types.items()}

    def plan_statement(self, checkpoint: Checkpoint, rows: int) -> str:
        """Return the statement that stores the keys of the next chunk, for batches of `rows` rows.

        It returns the new checkpoint, or no row after the last chunk.
        """
        after = "TRUE"
        if checkpoint.last is not None:
            values = zip(checkpoint.last, self._types.values(), strict=True)
            after = self._after(f"CAST({quote_literal(value)} AS {kind})" for value, kind in values)
        names, texts = ", ".join(self.key_names), ", ".join(f"{name}::text" for name in self.key_names)
        return f"""WITH s AS MATERIALIZED ({self._lock(checkpoint)}),
            {self._scan(f"{after} AND EXISTS (SELECT FROM s)", PASSES * rows)},
            numbered AS (
                SELECT jsonb_build_array({texts}) AS key_, row_number() OVER (ORDER BY {names}) AS n_ FROM scanned
            )
            UPDATE {TABLE} SET position = 0, planned = (SELECT count(*) FROM scanned),
                last = (SELECT ARRAY[{texts}] FROM {self._last_row}),
                keys = (SELECT array_agg(key_ ORDER BY n_ % {PASSES}, n_) FROM numbered)
            WHERE {self._checkpoint} AND EXISTS (SELECT FROM scanned) RETURNING {COLUMNS}"""

    def batch_statement(self, checkpoint: Checkpoint, rows: int) -> str:
        """Return the statement that updates the next planned rows. It returns the new checkpoint."""
        return f"""{self._lock_batch(checkpoint, rows)}, changed AS ({self._update("matching")})
            UPDATE {TABLE} SET position = position + {rows}, done = done + (SELECT count(*) FROM matching)
            WHERE {self._checkpoint} AND EXISTS (SELECT FROM s) RETURNING {COLUMNS}"""

    def read_statement(self, checkpoint: Checkpoint, rows: int) -> str:
        """Return the statement that locks the next planned rows. It returns their keys and input columns."""
        return f"""{self._lock_batch(checkpoint, rows)}
            SELECT {", ".join([*(f"{name}::text" for name in self.key_names), *self._inputs])} FROM matching"""

    def write_statement(self, checkpoint: Checkpoint, rows: int) -> str:
        """Return the statement that updates the locked rows, for `sqlalchemy.text`. It returns the new checkpoint.

        Its parameter `computed` is a JSON array of objects with the key and the computed values of a row.
        """
        columns = self._types | self._computed
        definitions = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        return "WITH input AS (SELECT CAST(:computed AS json) AS rows), " + escape_colons(f"""computed AS MATERIALIZED (
                SELECT {", ".join(columns)} FROM input, json_to_recordset(rows) AS computed ({definitions})
            ), changed AS ({self._update("computed")})
            UPDATE {TABLE} SET position = position + {rows}, done = done + (SELECT count(*) FROM computed)
            WHERE {self._at(checkpoint)} RETURNING {COLUMNS}""")

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
        batch = f"{self._scan(after, self._spec.batch_size)}, {self._matching('scanned')}"
        return f"""DO $backfill$ DECLARE {declared}locked_ boolean; BEGIN
            PERFORM set_config('plan_cache_mode', 'force_custom_plan', false);
            PERFORM set_config('lock_timeout', '{lock_timeout}', false);
            LOOP
                locked_ := false;
                BEGIN
                    WITH {batch}, changed AS ({self._update("matching")})
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

    def _at(self, checkpoint: Checkpoint) -> str:
        last = "NULL" if checkpoint.last is None else f"ARRAY[{', '.join(map(quote_literal, checkpoint.last))}]"
        return f"{self._checkpoint} AND position = {checkpoint.position} AND last IS NOT DISTINCT FROM {last}"

    def _lock(self, checkpoint: Checkpoint) -> str:
        return f"SELECT keys FROM {TABLE} WHERE {self._at(checkpoint)} FOR UPDATE"

    def _lock_batch(self, checkpoint: Checkpoint, rows: int) -> str:
        """Return the start of a statement that locks the checkpoint and the matching ones of the next planned rows."""
        batch = f"keys[{checkpoint.position + 1}:{checkpoint.position + rows}]"
        key = ", ".join(
            f"CAST(key_ ->> {number} AS {kind}) AS {name}" for number, (name, kind) in enumerate(self._types.items())
        )
        return f"""WITH s AS MATERIALIZED ({self._lock(checkpoint)}),
            planned AS MATERIALIZED (SELECT {key} FROM s, unnest({batch}) AS key_), {self._matching("planned")}"""

    def _scan(self, after: str, rows: int) -> str:
        pairs = zip(self._columns, self.key_names, strict=True)
        return f"""scanned AS MATERIALIZED (
                SELECT {", ".join(f"{column} AS {name}" for column, name in pairs)} FROM {self.table} AS t
                WHERE {after} ORDER BY {", ".join(self._columns)} LIMIT {rows}
            )"""

    def _matching(self, source: str) -> str:
        names = ", ".join(self.key_names)
        inputs = "".join(f", {column} AS {name}" for name, column in self._inputs.items())
        # The CASE makes PostgreSQL evaluate the condition for these rows only; a plan could start with it otherwise.
        matches = f"CASE WHEN {self.key_names[0]} IS NOT NULL THEN ({self._spec.where}) END"
        return f"""matching AS MATERIALIZED (
                SELECT {names}{inputs} FROM {source}, {self.table} AS t WHERE {self._same_key} AND {matches}
                ORDER BY {names} FOR NO KEY UPDATE OF t
            )"""

    def _update(self, source: str) -> str:
        return f"UPDATE {self.table} AS t SET {self._spec.assignments} FROM {source} WHERE {self._same_key}"

    @property
    def _same_key(self) -> str:
        return " AND ".join(f"{column} = {name}" for column, name in zip(self._columns, self.key_names, strict=True))
