"""Converts a revision to SQL: its transactions and their statements."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script

from migrations.sql.parser import split_statements


class StatementOrigin(Enum):
    """The code that issues a statement."""

    RUNNER = auto()
    """Alembic and the runner: version table, time limits, checkpoints."""
    REVISION = auto()
    SAFE_OPERATION = auto()


statement_origin = ContextVar("statement_origin", default=StatementOrigin.RUNNER)
"""The origin of the statements that run now."""


@contextmanager
def statements_from(origin: StatementOrigin) -> Iterator[None]:
    """Mark the statements of the block as issued by `origin`."""
    token = statement_origin.set(origin)
    try:
        yield
    finally:
        statement_origin.reset(token)


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
        is_safe = statement_origin.get() is StatementOrigin.SAFE_OPERATION
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
