"""Safe operations on indexes, built and dropped CONCURRENTLY."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from alembic.operations import Operations
from alembic.operations.ops import CreateIndexOp
from sqlalchemy import TextClause
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex

from migrations.operations.definition_check import require_same_definition
from migrations.operations.steps import StepRunner, steps
from migrations.runner.lock_retry import MigrationError

_SOURCE = (
    "FROM pg_index WHERE indexrelid = to_regclass(quote_ident(:index)) AND indrelid = to_regclass(quote_ident(:on))"
)
_DEFINITION = "SELECT pg_get_indexdef(to_regclass(quote_ident(:name)), 0, true)"


@Operations.register_operation("create_index_concurrently")
@Operations.register_operation("drop_index_concurrently")
class IndexOperations:
    """The methods of `op` for indexes."""

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
        """Create an index without blocking writes; `kw` as for `create_index` (postgresql_where, …_using).

        An INVALID index from a failed attempt is dropped first. A valid index with this name is kept.
        Raises MigrationError if it has another definition.
        """
        with steps(operations, f"creating index {index_name}") as run:
            build_index(run, CreateIndexOp(index_name, table_name, columns, unique=unique, **kw))

    @classmethod
    def drop_index_concurrently(cls, operations: Operations, index_name: str, table_name: str) -> None:  # noqa: ARG003 - as drop_index
        """Drop an index, if it exists, without blocking reads or writes."""
        with steps(operations, f"dropping index {index_name}") as run:
            run.run_concurrently(_drop(run, index_name))


def build_index(run: StepRunner, operation: CreateIndexOp) -> None:
    """Build an index CONCURRENTLY unless it exists, and drop it after a failure.

    Raises MigrationError if the existing index has another definition.
    """
    name, table = str(operation.index_name), operation.table_name
    drop = _drop(run, name)
    index = operation.to_index(run.context)
    if run.exists(f"{_SOURCE} AND indisvalid", index=name, on=table):
        require_same_definition(run, _DEFINITION, CreateIndex(index), table=run.quote(table), name=name)
        return
    index.dialect_options["postgresql"]["concurrently"] = True

    def drop_invalid() -> str | None:
        is_invalid = run.offline or run.exists(f"{_SOURCE} AND NOT indisvalid", index=name, on=table)
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


def _drop(run: StepRunner, name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {run.quote(name)}"
