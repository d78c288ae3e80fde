"""The operations of revisions, `op`: Alembic's operations and safe operations, which do not block the service.

A safe operation commits the statements before it and runs outside the revision's transaction. If a revision with safe
operations fails, it is repeated from its beginning. Safe operations skip completed work. Other statements of such a
revision must be idempotent: `if_not_exists=True`, CREATE OR REPLACE.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from alembic import op as _op
from alembic.operations import Operations

from migrations.operations.backfill import BackfillOperation
from migrations.operations.constraints import ConstraintOperations
from migrations.operations.indexes import IndexOperations

P = ParamSpec("P")

if TYPE_CHECKING:

    def _method(registered: Callable[Concatenate[Operations, P], None]) -> Callable[Concatenate[Any, P], None]: ...

    class SafeOperations(Operations):
        """Alembic's operations and the safe operations."""

        create_index_concurrently = _method(IndexOperations.create_index_concurrently)
        drop_index_concurrently = _method(IndexOperations.drop_index_concurrently)
        add_foreign_key = _method(ConstraintOperations.add_foreign_key)
        add_check = _method(ConstraintOperations.add_check)
        add_unique = _method(ConstraintOperations.add_unique)
        drop_constraint_if_exists = _method(ConstraintOperations.drop_constraint_if_exists)
        add_not_null = _method(ConstraintOperations.add_not_null)
        drop_not_null = _method(ConstraintOperations.drop_not_null)
        backfill = _method(BackfillOperation.backfill)

    op: SafeOperations
else:
    op = _op

__all__ = ["op"]
