"""Converts a revision to SQL: its transactions and their statements."""

from dataclasses import dataclass, field
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script

from migrations.sql.origin import StatementOrigin, statement_origin
from migrations.sql.parser import split_statements


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a revision; `is_batched` if one `op.execute` sends several."""

    text: str
    from_safe_operation: bool
    is_batched: bool


@dataclass(frozen=True, slots=True)
class Transaction:
    """Statements that are committed together or, if not atomic, one by one.

    The last transaction of a revision also stores the new schema version.
    """

    atomic: bool
    statements: list[Statement] = field(default_factory=list)


def transactions(script: Script, *, upgrade: bool = True) -> list[Transaction]:
    """Return the transactions of a revision, empty ones included. Needs no server."""
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "literal_binds": True})
    result = [Transaction(atomic=True)]

    def collect(sql: str) -> None:
        texts = list(split_statements(sql))
        is_safe = statement_origin() is StatementOrigin.SAFE_OPERATION
        if not (is_safe and sql.startswith("SET ")):  # the time limits of a step
            result[-1].statements.extend(Statement(text, is_safe, len(texts) > 1) for text in texts)

    implementation: Any = context.impl
    implementation.static_output = collect
    implementation.emit_commit = lambda: result.append(Transaction(atomic=False))
    implementation.emit_begin = lambda: result.append(Transaction(atomic=True))
    with Operations.context(context):
        (script.module.upgrade if upgrade else script.module.downgrade)()
    return result


def statements(script: Script, *, upgrade: bool = True) -> list[Statement]:
    """Return the statements of a revision."""
    return [statement for each in transactions(script, upgrade=upgrade) for statement in each.statements]
