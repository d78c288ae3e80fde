"""The rules that squawk lacks."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from alembic.script import Script
from packaging.version import Version

from migrations.runner.phases import phase_of, safe_from
from migrations.runner.revisions import Phase
from migrations.sql.locks import WRITE_BLOCKING_LOCKS, locks_of
from migrations.sql.parser import alter_table_actions, mask_literals
from migrations.sql.revision_sql import Statement, Transaction

Violation = tuple[str, str]
"""A rule and a message."""

_WRITES = re.compile(
    r"(?:UPDATE|DELETE|INSERT|MERGE|COPY)\b"
    r"|(?:WITH|EXPLAIN|PREPARE)\b.*\b(?:UPDATE|DELETE FROM|INSERT INTO|MERGE INTO)\b"
    r"|DO\b.*\b(?:UPDATE (?:ONLY )?\S+ (?:AS \w+ |\w+ )?SET|DELETE FROM|INSERT INTO [^;]*?\bSELECT|MERGE INTO)\b",
    re.IGNORECASE,
)
_INSERT_VALUES = re.compile(
    r'INSERT INTO [\w."]+ ?(?:AS \w+ ?)?(?:\([^()]*\) ?)?(?:OVERRIDING \w+ VALUE )?(?:DEFAULT )?VALUES\b', re.IGNORECASE
)
_CALLS = re.compile(r"(?:SELECT|VALUES|TABLE|WITH|CALL|EXECUTE)\b|DO\b.*\b(?:PERFORM|CALL)\b", re.IGNORECASE)
_TRANSACTIONS = re.compile(
    r"(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE TRANSACTION)\b", re.IGNORECASE
)
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_IDEMPOTENT = re.compile(
    r"(?:CREATE|DROP)\b.* IF (?:NOT )?EXISTS\b|CREATE OR REPLACE\b|(?:COMMENT|GRANT|REVOKE|ANALYZE|LOCK|SET)\b"
    r"|DO\b.*\bIF (?:NOT )?EXISTS\b",
    re.IGNORECASE,
)
_IDEMPOTENT_ACTION = re.compile(
    r"(?:ADD|DROP) (?:COLUMN |CONSTRAINT )?IF (?:NOT )?EXISTS\b"
    r"|ALTER (?:COLUMN )?+\S+ (?:SET|TYPE|DROP (?:NOT NULL|DEFAULT))\b"
    r"|(?:RE)?SET\b|(?:VALIDATE|OWNER|ENABLE|DISABLE|REPLICA|CLUSTER)\b",
    re.IGNORECASE,
)
_TIMEOUTS = re.compile(r"\b(?:lock|statement|transaction)_timeout\b", re.IGNORECASE)
_SERVER_ATTRIBUTES = frozenset({"as_sql", "is_offline_mode", "get_bind", "bind", "connection"})


def check(script: Script, upgrade: list[Transaction], downgrade: list[Transaction]) -> Iterator[Violation]:
    """Yield the violations in a revision with these transactions."""
    up, down = ([each for part in parts for each in part.statements] for parts in (upgrade, downgrade))
    for statement in (each for each in up + down if not each.from_safe_operation):
        for rule, message in _check_statement(statement):
            yield rule, f"{message}: {_short(statement)}"
    for tables in _locked_together(upgrade):
        yield "multi-table-lock", f"one transaction locks {', '.join(tables)}; write one revision for each table"
    for statement in (*_repeated_statements(upgrade), *_repeated_statements(downgrade)):
        if not _is_idempotent(statement):
            yield "not-idempotent", f"fails if the revision is repeated; use IF NOT EXISTS: {_short(statement)}"
    if up and not down:
        yield "no-downgrade", "the downgrade has no statements"
    yield from _check_source(Path(script.path).read_text(encoding="utf-8"))
    if phase_of(script) is Phase.CONTRACT and Version(safe_from(script)) > Version(version("hexapost")):
        yield "phase", f"is safe from release {safe_from(script)}; add it in that release"


def _check_statement(statement: Statement) -> Iterator[Violation]:
    """Check a statement that no safe operation issues."""
    executed = _executed_text(statement)
    if _WRITES.match(executed) and not _INSERT_VALUES.match(executed):
        yield "unbatched-write", "writes all rows in one transaction; use op.backfill"
    if _CALLS.match(executed):
        yield "opaque-function-call", "calls a function that the linter cannot check"
    if statement.is_batched:  # asyncpg rejects it
        yield "multiple-statements", "op.execute accepts one statement; use one call for each"
    if _TRANSACTIONS.match(statement.text):
        yield "explicit-transaction-control", "the migration runner controls transactions"
    if _CONCURRENTLY.search(mask_literals(statement.text)):  # the statement_timeout interrupts it
        yield "raw-concurrently", "leaves an INVALID index if interrupted; use op.create_index_concurrently"


def _check_source(source: str) -> Iterator[Violation]:
    # The runner's timeouts limit how long a revision blocks other sessions.
    for name in sorted(set(_TIMEOUTS.findall(source))):
        yield "timeout-override", f"revision sets {name}; the migration runner sets it"
    nodes = list(ast.walk(ast.parse(source)))
    for name in sorted({node.attr for node in nodes if isinstance(node, ast.Attribute)} & _SERVER_ATTRIBUTES):
        message = f"revision behaves differently offline (uses {name}); the linter cannot check it"
        yield "offline-dependent", message
    imports = [
        f"{node.module}.{each.name}" for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names
    ]
    imports += [each.name for node in nodes if isinstance(node, ast.Import) for each in node.names]
    for name in imports:
        # Statements that run through migration internals would count as safe.
        if name.partition(".")[0] == "migrations" and name != "migrations.operations.op":
            yield "internal-import", f"revision imports {name}; revisions may import only op from migrations"


def _locked_together(upgrade: list[Transaction]) -> Iterator[list[str]]:
    """Yield older tables on which one transaction blocks writes: the first stays locked while the next is awaited.

    Foreign keys of new tables may lock several tables. These locks allow reads, and no other statement holds them while
    it works: a new table has no rows. `add_foreign_key` locks two tables in the same way.
    """
    new: set[str] = set()
    for transaction in upgrade:
        tables: set[str] = set()
        is_rejected = False
        for locks in (locks_of(each.text) for each in transaction.statements):
            new |= {table for table, mode in locks.items() if mode == "NEW"}
            blocked = {
                table: mode for table, mode in locks.items() if mode in WRITE_BLOCKING_LOCKS and table not in new
            }
            tables |= blocked.keys()
            is_foreign_key = not new.isdisjoint(locks) and set(blocked.values()) <= {"SHARE ROW EXCLUSIVE"}
            is_rejected |= bool(blocked) and not is_foreign_key
        if transaction.atomic and is_rejected and len(tables) > 1:
            yield sorted(tables)


def _repeated_statements(parts: list[Transaction]) -> Iterator[Statement]:
    """Yield the statements that a safe operation commits, so a repeated revision runs them again."""
    for transaction in parts[:-1]:
        if transaction.atomic:
            yield from transaction.statements


def _is_idempotent(statement: Statement) -> bool:
    if actions := alter_table_actions(mask_literals(statement.text)):
        return all(map(_IDEMPOTENT_ACTION.match, actions))
    return _IDEMPOTENT.match(_executed_text(statement)) is not None


def _executed_text(statement: Statement) -> str:
    """Return the SQL that runs now: with the body of a DO block, without the body of a CREATE FUNCTION."""
    is_block = statement.text.upper().startswith("DO")
    return " ".join((statement.text if is_block else mask_literals(statement.text)).split())


def _short(statement: Statement) -> str:
    return " ".join(statement.text.split())[:100]
