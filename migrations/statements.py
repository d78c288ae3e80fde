"""A revision as SQL: its transactions, its statements, and the locks that these take."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script

_NAME = r'(?:IF (?:NOT )?EXISTS )?(?:ONLY )?(?P<table>[\w."]+)'
_REFERENCES = re.compile(r'\bREFERENCES (?P<table>[\w."]+)', re.IGNORECASE)
_LOCKS = [
    (re.compile(pattern, re.IGNORECASE), mode)
    for pattern, mode in (
        (rf"CREATE TABLE {_NAME}", "NEW"),
        (rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY .*? ON {_NAME}", "SHARE UPDATE EXCLUSIVE"),
        (rf"CREATE (?:UNIQUE )?INDEX .*? ON {_NAME}", "SHARE"),
        (rf"DROP INDEX CONCURRENTLY {_NAME}", "SHARE UPDATE EXCLUSIVE"),
        (rf"DROP (?:INDEX|TABLE) {_NAME}", "ACCESS EXCLUSIVE"),
        (rf"ALTER TABLE {_NAME} VALIDATE ", "SHARE UPDATE EXCLUSIVE"),
        (rf"ALTER TABLE {_NAME} ALTER (?:COLUMN )?\S+ SET STATISTICS", "SHARE UPDATE EXCLUSIVE"),
        (rf"ALTER TABLE {_NAME} ADD (?:CONSTRAINT \S+ )?FOREIGN KEY", "SHARE ROW EXCLUSIVE"),
        (rf"ALTER TABLE {_NAME}", "ACCESS EXCLUSIVE"),
        (rf"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER .*? ON {_NAME}", "SHARE ROW EXCLUSIVE"),
        (rf"DROP TRIGGER .*? ON {_NAME}", "ACCESS EXCLUSIVE"),
        (rf"TRUNCATE (?:TABLE )?{_NAME}", "ACCESS EXCLUSIVE"),
        (rf"(?:WITH .*|DO .*)?\b(?:UPDATE|DELETE FROM|INSERT INTO|MERGE INTO) {_NAME}", "ROW EXCLUSIVE"),
    )
]
STOPS_WRITERS = frozenset({"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"})
"""Locks that no INSERT, UPDATE or DELETE goes along with."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """Statements that are committed together, or, when it is not atomic, each by itself."""

    atomic: bool
    statements: list[str] = field(default_factory=list)


def transactions(script: Script, *, upgrade: bool = True) -> list[Transaction]:
    """Return what a revision does as SQL, without server: the transactions that have statements."""
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True}
    )
    with Operations.context(context):
        (script.module.upgrade if upgrade else script.module.downgrade)()
    found = [Transaction(atomic=True)]
    for statement in split(buffer.getvalue()):
        if statement in {"COMMIT", "BEGIN"}:
            found.append(Transaction(atomic=statement == "BEGIN"))
        elif not _is_setting(statement):
            found[-1].statements.append(statement)
    return [transaction for transaction in found if transaction.statements]


def split(sql: str) -> Iterator[str]:
    """Yield the statements that Alembic wrote, each without its semicolon and its comments."""
    for statement in sql.split(";\n\n"):
        lines = [line for line in statement.splitlines() if not line.startswith("--")]
        if meat := "\n".join(lines).strip().removesuffix(";"):
            yield meat


def flat(statement: str) -> str:
    """Return the statement in a line."""
    return " ".join(statement.split())


def locks(statement: str) -> dict[str, str]:
    """Return the lock that a statement takes, by table (or by index, where SQL names only that); NEW is a new table."""
    line = flat(statement)
    for pattern, mode in _LOCKS:
        if (found := pattern.match(line)) is not None:
            taken = {found["table"]: mode}
            if mode in {"NEW", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"}:
                for reference in _REFERENCES.finditer(line):
                    taken.setdefault(reference["table"], "SHARE ROW EXCLUSIVE")
            return taken
    return {}


def locked(script: Script) -> list[tuple[str, dict[str, str]]]:
    """Return the statements of a revision that lock what was there before it, with those locks."""
    new: set[str] = set()
    found = []
    for transaction in transactions(script):
        for statement in transaction.statements:
            taken = locks(statement)
            new |= {table for table, mode in taken.items() if mode == "NEW"}
            if old := {table: mode for table, mode in taken.items() if table not in new}:
                found.append((flat(statement), old))
    return found


def _is_setting(statement: str) -> bool:
    return re.match(r"(SET|RESET) (lock|statement)_timeout\b", statement) is not None
