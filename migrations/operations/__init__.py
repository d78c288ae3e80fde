"""What revisions call `op`: Alembic's operations and the safe ones, which others do not notice.

Each safe operation commits what came before it, works outside the transaction of the revision, and finds what it did
when it is repeated. A revision that uses them is therefore applied again from its beginning after a failure, and the
rest of it has to bear that, too: `if_not_exists=True`, CREATE OR REPLACE.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from alembic import op as _op
from alembic.operations import Operations

from migrations.operations.backfill import BackfillOp
from migrations.operations.constraints import AddConstraintOp, AddNotNullOp, DropConstraintIfExistsOp, DropNotNullOp
from migrations.operations.indexes import CreateIndexConcurrentlyOp, DropIndexConcurrentlyOp

P = ParamSpec("P")

if TYPE_CHECKING:

    def _method(registered: Callable[Concatenate[Operations, P], None]) -> Callable[Concatenate[Any, P], None]: ...

    class SafeOperations(Operations):
        """Alembic's operations, with ours."""

        create_index_concurrently = _method(CreateIndexConcurrentlyOp.create_index_concurrently)
        drop_index_concurrently = _method(DropIndexConcurrentlyOp.drop_index_concurrently)
        add_foreign_key = _method(AddConstraintOp.add_foreign_key)
        add_check = _method(AddConstraintOp.add_check)
        add_unique = _method(AddConstraintOp.add_unique)
        drop_constraint_if_exists = _method(DropConstraintIfExistsOp.drop_constraint_if_exists)
        add_not_null = _method(AddNotNullOp.add_not_null)
        drop_not_null = _method(DropNotNullOp.drop_not_null)
        backfill = _method(BackfillOp.backfill)

    op: SafeOperations
else:
    op = _op

__all__ = ["op"]
