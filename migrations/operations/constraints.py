"""Safe operations on constraints. Existing rows are validated without blocking reads or writes."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from alembic.operations import Operations
from alembic.operations.ops import CreateIndexOp

from migrations.operations.definition_check import require_same_definition
from migrations.operations.indexes import build_index
from migrations.operations.steps import MAX_IDENTIFIER_BYTES, StepRunner, literal_text, steps

NOT_NULL_NOT_VALID = 180000
"""The first server_version_num with ADD CONSTRAINT … NOT NULL … NOT VALID."""

_SOURCE = "FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(:on)) AND conname = :name"
_DEFINITION = f"SELECT regexp_replace(pg_get_constraintdef(oid, true), ' NOT VALID$', '') {_SOURCE}"
_NOT_NULL = """
    SELECT conname FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
    WHERE conrelid = to_regclass(quote_ident(:on)) AND contype = 'n' AND attname = :column
"""

Action = Literal["CASCADE", "RESTRICT", "SET NULL", "SET DEFAULT", "NO ACTION"]


@Operations.register_operation("add_foreign_key")
@Operations.register_operation("add_check")
@Operations.register_operation("add_unique")
@Operations.register_operation("drop_constraint_if_exists")
@Operations.register_operation("add_not_null")
@Operations.register_operation("drop_not_null")
class ConstraintOperations:
    """The methods of `op` for constraints."""

    @classmethod
    def add_foreign_key(  # noqa: PLR0917 - as create_foreign_key
        cls,
        operations: Operations,
        name: str,
        table_name: str,
        referent_table: str,
        columns: Sequence[str],
        referent_columns: Sequence[str],
        *,
        ondelete: Action | None = None,
    ) -> None:
        """Add a foreign key: NOT VALID under a short lock on both tables, then validate under a weak lock."""
        with steps(operations, f"adding constraint {name}") as run:
            referent = run.quote(referent_table)
            definition = f"FOREIGN KEY ({run.quote(*columns)}) REFERENCES {referent} ({run.quote(*referent_columns)})"
            definition += f" ON DELETE {ondelete}" if ondelete else ""
            _add_and_validate(run, table_name, name, definition, referent=referent)

    @classmethod
    def add_check(cls, operations: Operations, name: str, table_name: str, condition: str) -> None:
        """Add a check: NOT VALID under a short lock, then validate under a weak lock."""
        with steps(operations, f"adding constraint {name}") as run:
            _add_and_validate(run, table_name, name, f"CHECK ({condition})")

    @classmethod
    def add_unique(cls, operations: Operations, name: str, table_name: str, columns: Sequence[str]) -> None:
        """Add a unique constraint: build its index CONCURRENTLY, then attach the index to the constraint."""
        with steps(operations, f"adding constraint {name}") as run:
            add = _add(run, table_name, name, f"UNIQUE USING INDEX {run.quote(name)}")
            if run.exists(_SOURCE, on=table_name, name=name):
                _require_same(run, table_name, name, f"UNIQUE ({run.quote(*columns)})")
            else:
                build_index(run, CreateIndexOp(name, table_name, list(columns), unique=True))
                run.run_blocking(add)

    @classmethod
    def drop_constraint_if_exists(cls, operations: Operations, name: str, table_name: str) -> None:
        """Drop a constraint under a short ACCESS EXCLUSIVE lock; for a foreign key, on both tables."""
        with steps(operations, f"dropping constraint {name}") as run:
            _drop_constraint(run, table_name, name)

    @classmethod
    def add_not_null(cls, operations: Operations, table_name: str, column_name: str) -> None:
        """Make a column NOT NULL: NOT VALID under a short lock, then validate under a weak lock.

        Before PostgreSQL 18 it uses a temporary check: with a valid check, SET NOT NULL does not scan the table.
        """
        with steps(operations, f"making {table_name}.{column_name} NOT NULL") as run:
            table, column = run.quote(table_name), run.quote(column_name)
            if run.server_version >= NOT_NULL_NOT_VALID:
                if existing := run.fetch_one(_NOT_NULL, on=table_name, column=column_name):
                    _validate(run, table_name, existing[0])
                else:
                    name = truncate_identifier(f"{table_name}_{column_name}_not_null")
                    _add_and_validate(run, table_name, name, f"NOT NULL {column}")
                return
            check = truncate_identifier(f"ck_{table_name}_{column_name}_not_null")
            _add_and_validate(run, table_name, check, f"CHECK ({column} IS NOT NULL)")
            run.run_blocking(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL")
            _drop_constraint(run, table_name, check)

    @classmethod
    def drop_not_null(cls, operations: Operations, table_name: str, column_name: str) -> None:
        """Make a column nullable, under a short lock."""
        with steps(operations, f"making {table_name}.{column_name} nullable") as run:
            table, column = run.quote(table_name), run.quote(column_name)
            run.run_blocking(f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL")


def truncate_identifier(name: str) -> str:
    """Return a generated name; the end of a long one is replaced by a digest."""
    if len(name.encode()) <= MAX_IDENTIFIER_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: MAX_IDENTIFIER_BYTES - 9].decode(errors='ignore')}_{digest}"


def _add_and_validate(run: StepRunner, table: str, name: str, definition: str, *, referent: str | None = None) -> None:
    add = _add(run, table, name, definition)
    if run.exists(_SOURCE, on=table, name=name):
        _require_same(run, table, name, definition, referent=referent)
    else:
        run.run_blocking(f"{add} NOT VALID")
    _validate(run, table, name)


def _validate(run: StepRunner, table: str, name: str) -> None:
    if not run.exists(f"{_SOURCE} AND convalidated", on=table, name=name):
        run.run_unlimited(f"ALTER TABLE {run.quote(table)} VALIDATE CONSTRAINT {run.quote(name)}")


def _require_same(run: StepRunner, table: str, name: str, definition: str, *, referent: str | None = None) -> None:
    add = literal_text(_add(run, table, name, definition))
    require_same_definition(run, _DEFINITION, add, table=run.quote(table), referent=referent, name=name, on=table)


def _add(run: StepRunner, table: str, name: str, definition: str) -> str:
    return f"ALTER TABLE {run.quote(table)} ADD CONSTRAINT {run.quote(name)} {definition}"


def _drop_constraint(run: StepRunner, table: str, name: str) -> None:
    run.run_blocking(f"ALTER TABLE {run.quote(table)} DROP CONSTRAINT IF EXISTS {run.quote(name)}")
