"""A revision as SQL: its transactions and their statements."""

from dataclasses import dataclass, field
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script

from migrations.call_origin import called_by_safe_operation
from migrations.sql_text import split_statements


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in a line, whether a safe operation has it run, and whether it is run together with others."""

    text: str
    from_safe_operation: bool
    is_batched: bool


@dataclass(frozen=True, slots=True)
class Transaction:
    """Statements that are committed together, or, when it is not atomic, each by itself.

    The last one is committed together with the version of the schema.
    """

    atomic: bool
    statements: list[Statement] = field(default_factory=list)


def transactions(script: Script, *, upgrade: bool = True) -> list[Transaction]:
    """Return what a revision does as SQL, without server: its transactions, those without statements, too."""
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "literal_binds": True})
    found = [Transaction(atomic=True)]

    def run(sql: str) -> None:
        texts = list(split_statements(sql))
        safe = called_by_safe_operation()
        if not (safe and sql.startswith("SET ")):  # the time limits of a step
            found[-1].statements.extend(Statement(text, safe, len(texts) > 1) for text in texts)

    implementation: Any = context.impl
    implementation.static_output = run
    implementation.emit_commit = lambda: found.append(Transaction(atomic=False))
    implementation.emit_begin = lambda: found.append(Transaction(atomic=True))
    with Operations.context(context):
        (script.module.upgrade if upgrade else script.module.downgrade)()
    return found


def statements(script: Script, *, upgrade: bool = True) -> list[Statement]:
    """Return the statements of a revision."""
    return [statement for each in transactions(script, upgrade=upgrade) for statement in each.statements]
