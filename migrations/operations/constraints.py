"""Safe operations on constraints: added without a look at the rows, which are looked at while others read and write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateIndexOp

from migrations.operations.definition_check import require_same_constraint
from migrations.operations.indexes import build_index, quote_identifiers, truncate_identifier
from migrations.operations.steps import NOT_NULL_NOT_VALID, StepRunner, steps

_OF_TABLE = "FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(:on)) AND conname = :constraint"
_NOT_NULL = """
    SELECT conname FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
    WHERE conrelid = to_regclass(quote_ident(:on)) AND contype = 'n' AND attname = :column
"""

Action = Literal["CASCADE", "RESTRICT", "SET NULL", "SET DEFAULT", "NO ACTION"]


@Operations.register_operation("add_foreign_key")
@Operations.register_operation("add_check")
@Operations.register_operation("add_unique")
@dataclass
class AddConstraintOp(MigrateOperation):
    """A constraint that is added NOT VALID and validated later, or that takes over an index that was built before."""

    name: str
    table_name: str
    definition: str
    unique_columns: Sequence[str] = ()
    referent_table: str | None = None

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
        """Add a foreign key: NOT VALID under a short lock on both tables, then validated under a weak one."""
        definition = (
            f"FOREIGN KEY ({quote_identifiers(operations, *columns)}) "
            f"REFERENCES {quote_identifiers(operations, referent_table)} "
            f"({quote_identifiers(operations, *referent_columns)})"
        )
        definition += f" ON DELETE {ondelete}" if ondelete else ""
        operations.invoke(cls(name, table_name, definition, referent_table=referent_table))

    @classmethod
    def add_check(cls, operations: Operations, name: str, table_name: str, condition: str) -> None:
        """Add a check: NOT VALID under a short lock, then validated under a weak one."""
        operations.invoke(cls(name, table_name, f"CHECK ({condition})"))

    @classmethod
    def add_unique(cls, operations: Operations, name: str, table_name: str, columns: Sequence[str]) -> None:
        """Add a unique constraint: its index is built CONCURRENTLY, then the constraint takes it over."""
        operations.invoke(cls(name, table_name, f"UNIQUE USING INDEX {quote_identifiers(operations, name)}", columns))


@Operations.register_operation("drop_constraint_if_exists")
@dataclass
class DropConstraintIfExistsOp(MigrateOperation):
    """A constraint that goes."""

    name: str
    table_name: str

    @classmethod
    def drop_constraint_if_exists(cls, operations: Operations, name: str, table_name: str) -> None:
        """Drop a constraint, if it is there, under a short lock: ACCESS EXCLUSIVE, of a foreign key on both tables."""
        operations.invoke(cls(name, table_name))


@Operations.register_operation("add_not_null")
@dataclass
class AddNotNullOp(MigrateOperation):
    """A column that is never NULL from now on."""

    table_name: str
    column_name: str

    @classmethod
    def add_not_null(cls, operations: Operations, table_name: str, column_name: str) -> None:
        """Make a column NOT NULL: NOT VALID under a short lock, then validated under a weak one.

        Before PostgreSQL 18 a check stands in, which SET NOT NULL believes without a look at the rows.
        """
        operations.invoke(cls(table_name, column_name))


@Operations.register_operation("drop_not_null")
@dataclass
class DropNotNullOp(MigrateOperation):
    """A column that may be NULL."""

    table_name: str
    column_name: str

    @classmethod
    def drop_not_null(cls, operations: Operations, table_name: str, column_name: str) -> None:
        """Let a column be NULL, under a short lock."""
        operations.invoke(cls(table_name, column_name))


@Operations.implementation_for(AddConstraintOp)
def _add_constraint(operations: Operations, operation: AddConstraintOp) -> None:
    name, table = operation.name, operation.table_name
    with steps(operations, f"adding constraint {name}") as run:
        if operation.unique_columns:
            add = _added(operations, table, name, operation.definition)
            if run.exists(_OF_TABLE, on=table, constraint=name):
                definition = f"UNIQUE ({quote_identifiers(operations, *operation.unique_columns)})"
                _same(operations, run, table, name, definition)
            else:
                build_index(operations, run, CreateIndexOp(name, table, list(operation.unique_columns), unique=True))
                run.run_blocking(add)
            return
        _add_and_validate(operations, run, table, name, operation.definition, referent=operation.referent_table)


@Operations.implementation_for(DropConstraintIfExistsOp)
def _remove_constraint(operations: Operations, operation: DropConstraintIfExistsOp) -> None:
    with steps(operations, f"dropping constraint {operation.name}") as run:
        _drop_constraint(operations, run, operation.table_name, operation.name)


@Operations.implementation_for(AddNotNullOp)
def _add_not_null(operations: Operations, operation: AddNotNullOp) -> None:
    table, column = operation.table_name, operation.column_name
    name, check = (
        truncate_identifier(f"{table}_{column}_not_null"),
        truncate_identifier(f"ck_{table}_{column}_not_null"),
    )
    with steps(operations, f"making {table}.{column} NOT NULL") as run:
        if run.server_version >= NOT_NULL_NOT_VALID:
            found = run.fetch_one(_NOT_NULL, on=table, column=column)
            if found:
                _validate(operations, run, table, found[0])
            else:
                _add_and_validate(operations, run, table, name, f"NOT NULL {quote_identifiers(operations, column)}")
            return
        _add_and_validate(operations, run, table, check, f"CHECK ({quote_identifiers(operations, column)} IS NOT NULL)")
        run.run_blocking(
            f"ALTER TABLE {quote_identifiers(operations, table)} ALTER COLUMN {quote_identifiers(operations, column)} "
            "SET NOT NULL"
        )
        _drop_constraint(operations, run, table, check)


@Operations.implementation_for(DropNotNullOp)
def _remove_not_null(operations: Operations, operation: DropNotNullOp) -> None:
    table, column = (
        quote_identifiers(operations, operation.table_name),
        quote_identifiers(operations, operation.column_name),
    )
    with steps(operations, f"letting {operation.table_name}.{operation.column_name} be NULL") as run:
        run.run_blocking(f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL")


def _add_and_validate(
    operations: Operations, run: StepRunner, table: str, name: str, definition: str, *, referent: str | None = None
) -> None:
    add = _added(operations, table, name, definition)
    if run.exists(_OF_TABLE, on=table, constraint=name):
        _same(operations, run, table, name, definition, referent=referent)
    else:
        run.run_blocking(f"{add} NOT VALID")
    _validate(operations, run, table, name)


def _validate(operations: Operations, run: StepRunner, table: str, name: str) -> None:
    if not run.exists(f"{_OF_TABLE} AND convalidated", on=table, constraint=name):
        run.run_unlimited(
            f"ALTER TABLE {quote_identifiers(operations, table)} VALIDATE CONSTRAINT "
            f"{quote_identifiers(operations, name)}"
        )


def _same(
    operations: Operations, run: StepRunner, table: str, name: str, definition: str, *, referent: str | None = None
) -> None:
    """Raise MigrationError when the constraint that is there has another definition."""
    require_same_constraint(
        run,
        name,
        _added(operations, table, name, definition),
        on=table,
        table=quote_identifiers(operations, table),
        referent=referent and quote_identifiers(operations, referent),
    )


def _added(operations: Operations, table: str, name: str, definition: str) -> str:
    return (
        f"ALTER TABLE {quote_identifiers(operations, table)} ADD CONSTRAINT {quote_identifiers(operations, name)} "
        f"{definition}"
    )


def _drop_constraint(operations: Operations, run: StepRunner, table: str, name: str) -> None:
    run.run_blocking(
        f"ALTER TABLE {quote_identifiers(operations, table)} DROP CONSTRAINT IF EXISTS "
        f"{quote_identifiers(operations, name)}"
    )
