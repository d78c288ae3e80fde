"""Safe operations on indexes: built and dropped CONCURRENTLY, while others read and write."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateIndexOp
from sqlalchemy import TextClause
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex

from migrations.operations.definition_check import require_same_index
from migrations.operations.steps import StepRunner, steps
from migrations.runner.lock_retry import MigrationError

MAX_IDENTIFIER_LENGTH = 63
"""In bytes: PostgreSQL cuts what is longer, and would not find it under its name again."""
_OF_TABLE = (
    "FROM pg_index WHERE indexrelid = to_regclass(quote_ident(:index)) AND indrelid = to_regclass(quote_ident(:on))"
)


@Operations.register_operation("create_index_concurrently")
class CreateIndexConcurrentlyOp(MigrateOperation):
    """CREATE INDEX CONCURRENTLY."""

    def __init__(self, plain: CreateIndexOp) -> None:
        self.plain = plain

    @classmethod
    def create_index_concurrently(
        cls,
        operations: Operations,
        /,
        index_name: str,
        table_name: str,
        columns: Sequence[str | TextClause],
        *,
        unique: bool = False,
        **kw: Any,
    ) -> None:
        """Create an index without keeping writers waiting; `kw` as for `create_index` (postgresql_where, …_using).

        What a failed attempt left INVALID is dropped first; an index of that name that is valid is left as it is,
        and refused when it is not the same.
        """
        operations.invoke(cls(CreateIndexOp(index_name, table_name, columns, unique=unique, **kw)))


@Operations.register_operation("drop_index_concurrently")
class DropIndexConcurrentlyOp(MigrateOperation):
    """DROP INDEX CONCURRENTLY."""

    def __init__(self, index_name: str, table_name: str) -> None:
        self.index_name = index_name
        self.table_name = table_name

    @classmethod
    def drop_index_concurrently(cls, operations: Operations, index_name: str, table_name: str) -> None:
        """Drop an index, if it is there, without keeping others waiting."""
        operations.invoke(cls(index_name, table_name))


@Operations.implementation_for(CreateIndexConcurrentlyOp)
def _create(operations: Operations, operation: CreateIndexConcurrentlyOp) -> None:
    with steps(operations, f"creating index {operation.plain.index_name}") as run:
        build_index(operations, run, operation.plain)


@Operations.implementation_for(DropIndexConcurrentlyOp)
def _drop(operations: Operations, operation: DropIndexConcurrentlyOp) -> None:
    with steps(operations, f"dropping index {operation.index_name}") as run:
        run.run_concurrently(f"DROP INDEX CONCURRENTLY IF EXISTS {quote_identifiers(operations, operation.index_name)}")


def build_index(operations: Operations, run: StepRunner, plain: CreateIndexOp) -> None:
    """Build an index CONCURRENTLY, unless it is there; nothing of it is left when that fails, if others let it go.

    Raises MigrationError when another index has its name.
    """
    name, table = str(plain.index_name), plain.table_name
    away = f"DROP INDEX CONCURRENTLY IF EXISTS {quote_identifiers(operations, name)}"
    if run.exists(f"{_OF_TABLE} AND indisvalid", index=name, on=table):
        create = CreateIndex(plain.to_index(operations.get_context()))
        require_same_index(run, name, create, table=quote_identifiers(operations, table))
        return
    index = plain.to_index(operations.get_context())
    index.dialect_options["postgresql"]["concurrently"] = True

    def leftover() -> str | None:
        return away if run.offline or run.exists(f"{_OF_TABLE} AND NOT indisvalid", index=name, on=table) else None

    try:
        run.run_concurrently(CreateIndex(index), after=leftover)
    except (DBAPIError, MigrationError):
        with suppress(SQLAlchemyError):  # of a session that was ended
            # An INVALID unique index would still refuse rows.
            if leftover() and not run.try_once(away):
                report = operations.get_context().opts["report"]
                report(f"index {name} is left INVALID, since others are at the table: a repetition drops it")
        raise


def quote_identifiers(operations: Operations, *names: str) -> str:
    """Return names as SQL, comma-separated. Raises MigrationError for one that the server would cut."""
    for name in names:
        if len(name.encode()) > MAX_IDENTIFIER_LENGTH:
            raise MigrationError(f"the name {name} is longer than {MAX_IDENTIFIER_LENGTH} bytes")
    return ", ".join(operations.get_context().dialect.identifier_preparer.quote(name) for name in names)


def truncate_identifier(name: str) -> str:
    """Return a name that was made out of others; what is too long ends with a digest of it."""
    if len(name.encode()) <= MAX_IDENTIFIER_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: MAX_IDENTIFIER_LENGTH - 9].decode(errors='ignore')}_{digest}"
