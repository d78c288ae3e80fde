"""The operations of revisions: Alembic's operations and safe operations, which do not block the service.

A safe operation commits the statements before it and runs outside the revision's transaction. If a revision with safe
operations fails, it is repeated from its beginning. Safe operations skip completed work. Other statements of such a
revision must be idempotent: `if_not_exists=True`, CREATE OR REPLACE.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from alembic.op import *  # noqa: F403 - revisions call Alembic's operations on this module
from alembic.operations.ops import CreateIndexOp
from sqlalchemy import Column, TextClause
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex

from migrations.operations.backfill import run_backfill
from migrations.operations.backfill_sql import BackfillSpec, Computation
from migrations.operations.steps import MAX_IDENTIFIER_BYTES, StepRunner, literal_text, steps
from migrations.runner.lock_retry import MigrationError

NOT_NULL_NOT_VALID = 180000
"""The first server_version_num with ADD CONSTRAINT … NOT NULL … NOT VALID."""

_INDEX = (
    "FROM pg_index WHERE indexrelid = to_regclass(quote_ident(:index)) AND indrelid = to_regclass(quote_ident(:on))"
)
_INDEX_DEFINITION = "SELECT pg_get_indexdef(to_regclass(quote_ident(:name)), 0, true)"
_CONSTRAINT = "FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(:on)) AND conname = :name"
_CONSTRAINT_DEFINITION = f"SELECT regexp_replace(pg_get_constraintdef(oid, true), ' NOT VALID$', '') {_CONSTRAINT}"
_NOT_NULL = """
    SELECT conname FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
    WHERE conrelid = to_regclass(quote_ident(:on)) AND contype = 'n' AND attname = :column
"""

Action = Literal["CASCADE", "RESTRICT", "SET NULL", "SET DEFAULT", "NO ACTION"]


def create_index_concurrently(
    index_name: str, table_name: str, columns: Sequence[str | TextClause], *, unique: bool = False, **kw: Any
) -> None:
    """Create an index without blocking writes; `kw` as for `create_index` (postgresql_where, …_using).

    An INVALID index from a failed attempt is dropped first. A valid index with this name is kept.
    Raises MigrationError if it has another definition.
    """
    with steps(f"creating index {index_name}") as run:
        _build_index(run, CreateIndexOp(index_name, table_name, columns, unique=unique, **kw))


def drop_index_concurrently(index_name: str, table_name: str) -> None:  # noqa: ARG001 - as drop_index
    """Drop an index, if it exists, without blocking reads or writes."""
    with steps(f"dropping index {index_name}") as run:
        run.run_concurrently(_drop_index(run, index_name))


def add_foreign_key(
    name: str,
    table_name: str,
    referent_table: str,
    columns: Sequence[str],
    referent_columns: Sequence[str],
    *,
    ondelete: Action | None = None,
) -> None:
    """Add a foreign key: NOT VALID under a short lock on both tables, then validate under a weak lock."""
    with steps(f"adding constraint {name}") as run:
        referent = run.quote(referent_table)
        definition = f"FOREIGN KEY ({run.quote(*columns)}) REFERENCES {referent} ({run.quote(*referent_columns)})"
        definition += f" ON DELETE {ondelete}" if ondelete else ""
        _add_and_validate(run, table_name, name, definition, referent=referent)


def add_check(name: str, table_name: str, condition: str) -> None:
    """Add a check: NOT VALID under a short lock, then validate under a weak lock."""
    with steps(f"adding constraint {name}") as run:
        _add_and_validate(run, table_name, name, f"CHECK ({condition})")


def add_unique(name: str, table_name: str, columns: Sequence[str]) -> None:
    """Add a unique constraint: build its index CONCURRENTLY, then attach the index to the constraint."""
    with steps(f"adding constraint {name}") as run:
        add = _add_constraint(run, table_name, name, f"UNIQUE USING INDEX {run.quote(name)}")
        if not _has_constraint(run, table_name, name, f"UNIQUE ({run.quote(*columns)})"):
            _build_index(run, CreateIndexOp(name, table_name, list(columns), unique=True))
            run.run_blocking(add)


def drop_constraint_if_exists(name: str, table_name: str) -> None:
    """Drop a constraint under a short ACCESS EXCLUSIVE lock; for a foreign key, on both tables."""
    with steps(f"dropping constraint {name}") as run:
        _drop_constraint(run, table_name, name)


def add_not_null(table_name: str, column_name: str) -> None:
    """Make a column NOT NULL: NOT VALID under a short lock, then validate under a weak lock.

    Before PostgreSQL 18 it uses a temporary check: with a valid check, SET NOT NULL does not scan the table.
    """
    with steps(f"making {table_name}.{column_name} NOT NULL") as run:
        table, column = run.quote(table_name), run.quote(column_name)
        if run.server_version >= NOT_NULL_NOT_VALID:
            if existing := run.fetch_one(_NOT_NULL, on=table_name, column=column_name):
                _validate(run, table_name, existing[0])
            else:
                name = _truncate_identifier(f"{table_name}_{column_name}_not_null")
                _add_and_validate(run, table_name, name, f"NOT NULL {column}")
            return
        check = _truncate_identifier(f"ck_{table_name}_{column_name}_not_null")
        _add_and_validate(run, table_name, check, f"CHECK ({column} IS NOT NULL)")
        run.run_blocking(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL")
        _drop_constraint(run, table_name, check)


def drop_not_null(table_name: str, column_name: str) -> None:
    """Make a column nullable, under a short lock."""
    with steps(f"making {table_name}.{column_name} nullable") as run:
        run.run_blocking(f"ALTER TABLE {run.quote(table_name)} ALTER COLUMN {run.quote(column_name)} DROP NOT NULL")


def backfill(
    table_name: str,
    assignments: str,
    *,
    where: str = "TRUE",
    key: Sequence[str] = ("id",),
    batch: int = 1000,
    pause: float = 0.02,
    compute: Callable[..., Mapping[str, Any]] | None = None,
    columns: Sequence[str] = (),
    computed: Mapping[str, str] | None = None,
) -> None:
    """Run UPDATE table_name SET assignments WHERE where, in batches.

    Every matching row is updated once, even if the migration is killed and started again. A batch scans at most
    `batch` rows. The batch size shrinks if a batch holds its row locks too long. After a batch with updates, the
    backfill waits `pause` seconds.

    `key` has columns that are unique together and NOT NULL, and that are the first columns of an index. The best
    key follows the order of insertion, because a batch then changes few pages.

    If SQL cannot express a value, `compute` is called with the values of `columns` in each matching row. It is a pure
    function, and returns values by name. `computed` has their SQL types. The assignments refer to `computed.name`.
    The row is locked from the read to the update. A script of `--sql` rejects a table with matching rows.
    """
    computation = compute and Computation(compute, columns, computed or {})
    with steps(f"backfilling {table_name}") as run:
        run_backfill(run, BackfillSpec(table_name, assignments, where, key, batch, pause, computation))


def _build_index(run: StepRunner, operation: CreateIndexOp) -> None:
    """Build an index CONCURRENTLY unless it exists, and drop it after a failure."""
    name, table = str(operation.index_name), operation.table_name
    drop = _drop_index(run, name)
    index = operation.to_index(run.context)
    options = index.dialect_options["postgresql"]
    options["include"] = [Column(name) for name in options["include"] or ()]  # Alembic's table lacks them
    if run.exists(f"{_INDEX} AND indisvalid", index=name, on=table):
        run.require_same_definition(_INDEX_DEFINITION, CreateIndex(index), table=run.quote(table), name=name)
        return
    options["concurrently"] = True

    def drop_invalid() -> str | None:
        is_invalid = run.offline or run.exists(f"{_INDEX} AND NOT indisvalid", index=name, on=table)
        return drop if is_invalid else None

    try:
        run.run_concurrently(CreateIndex(index), before=drop_invalid)
    except (DBAPIError, MigrationError):
        with suppress(SQLAlchemyError):  # the session may be closed
            # An INVALID unique index still rejects duplicates.
            if drop_invalid() and not run.try_once(drop):
                run.context.opts["report"](
                    f"index {name} is INVALID and could not be dropped because its table is locked; "
                    "run the migration again to replace it"
                )
        raise


def _drop_index(run: StepRunner, name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {run.quote(name)}"


def _add_and_validate(run: StepRunner, table: str, name: str, definition: str, *, referent: str | None = None) -> None:
    add = _add_constraint(run, table, name, definition)
    if not _has_constraint(run, table, name, definition, referent=referent):
        run.run_blocking(f"{add} NOT VALID")
    _validate(run, table, name)


def _validate(run: StepRunner, table: str, name: str) -> None:
    if not run.exists(f"{_CONSTRAINT} AND convalidated", on=table, name=name):
        run.run_unlimited(f"ALTER TABLE {run.quote(table)} VALIDATE CONSTRAINT {run.quote(name)}")


def _has_constraint(run: StepRunner, table: str, name: str, definition: str, *, referent: str | None = None) -> bool:
    """Return True if the constraint exists. Raises MigrationError if it has another definition."""
    if not run.exists(_CONSTRAINT, on=table, name=name):
        return False
    create = literal_text(_add_constraint(run, table, name, definition))
    run.require_same_definition(
        _CONSTRAINT_DEFINITION, create, table=run.quote(table), referent=referent, name=name, on=table
    )
    return True


def _add_constraint(run: StepRunner, table: str, name: str, definition: str) -> str:
    return f"ALTER TABLE {run.quote(table)} ADD CONSTRAINT {run.quote(name)} {definition}"


def _drop_constraint(run: StepRunner, table: str, name: str) -> None:
    run.run_blocking(f"ALTER TABLE {run.quote(table)} DROP CONSTRAINT IF EXISTS {run.quote(name)}")


def _truncate_identifier(name: str) -> str:
    """Return a generated name; the end of a long one is replaced by a digest."""
    if len(name.encode()) <= MAX_IDENTIFIER_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: MAX_IDENTIFIER_BYTES - 9].decode(errors='ignore')}_{digest}"
