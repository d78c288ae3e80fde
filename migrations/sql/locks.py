"""Predicts the table locks of a statement from its text."""

import re
from collections.abc import Iterable, Iterator

from alembic.script import Script

from migrations.sql.parser import alter_table_actions, mask_literals
from migrations.sql.revision_sql import statements

LOCK_MODES_BY_STRENGTH = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
WRITE_BLOCKING_LOCKS = frozenset(LOCK_MODES_BY_STRENGTH[4:])
"""Lock modes that block INSERT, UPDATE and DELETE."""

_NAME = r'(?:IF (?:NOT )?EXISTS )?(?P<tables>(?:ONLY )?[\w."]+)'
_NAMES = r'(?:IF EXISTS )?(?P<tables>(?:ONLY )?[\w."]+(?: \*)?(?: ?, ?(?:ONLY )?[\w."]+(?: \*)?)*)'


def _compile(*rules: tuple[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern, re.IGNORECASE), mode) for pattern, mode in rules]


_LOCKS = _compile(
    (rf"CREATE (?:UNLOGGED )?TABLE {_NAME}", "NEW"),
    (rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY .*? ON {_NAME}", "SHARE UPDATE EXCLUSIVE"),
    (rf"CREATE (?:UNIQUE )?INDEX .*? ON {_NAME}", "SHARE"),
    (rf"DROP INDEX CONCURRENTLY {_NAMES}", "SHARE UPDATE EXCLUSIVE"),
    (rf"DROP (?:INDEX|TABLE) {_NAMES}", "ACCESS EXCLUSIVE"),
    (rf"REINDEX (?:\(.*?\) )?(?:INDEX|TABLE) CONCURRENTLY {_NAME}", "SHARE UPDATE EXCLUSIVE"),
    (rf"REINDEX (?:\(.*?\) )?(?:INDEX|TABLE) {_NAME}", "SHARE"),
    (rf"ALTER INDEX {_NAME} SET TABLESPACE", "ACCESS EXCLUSIVE"),
    (rf"ALTER INDEX {_NAME}", "SHARE UPDATE EXCLUSIVE"),
    (rf"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER .*? ON {_NAME}", "SHARE ROW EXCLUSIVE"),
    (rf"(?:DROP TRIGGER|(?:CREATE|ALTER|DROP) POLICY) .*? ON {_NAME}", "ACCESS EXCLUSIVE"),
    (rf"TRUNCATE (?:TABLE )?{_NAMES}", "ACCESS EXCLUSIVE"),
    *((rf"LOCK (?:TABLE )?{_NAMES} IN {mode} MODE", mode) for mode in LOCK_MODES_BY_STRENGTH),
    (rf"LOCK (?:TABLE )?{_NAMES}", "ACCESS EXCLUSIVE"),
    (rf"(?:VACUUM (?:\([^)]*\bFULL\b[^)]*\)|FULL)|CLUSTER)(?: VERBOSE| ANALYZE)* {_NAMES}", "ACCESS EXCLUSIVE"),
    (rf"(?:ANALYZE|VACUUM)(?: \([^)]*\)| VERBOSE| ANALYZE)* {_NAMES}", "SHARE UPDATE EXCLUSIVE"),
    (rf"(?:WITH .*|DO .*)?\b(?:UPDATE|DELETE FROM|INSERT INTO|MERGE INTO) {_NAME}", "ROW EXCLUSIVE"),
)
_ALTERED = re.compile(rf"ALTER TABLE {_NAME}", re.IGNORECASE)
_ALTERS = _compile(
    (
        r"VALIDATE |ALTER (?:COLUMN )?\S+ SET STATISTICS|(?:RE)?SET \(|CLUSTER |SET WITHOUT ",
        "SHARE UPDATE EXCLUSIVE",
    ),
    (r"ADD (?:CONSTRAINT \S+ )?FOREIGN KEY|(?:ENABLE|DISABLE) .*TRIGGER", "SHARE ROW EXCLUSIVE"),
    (r"", "ACCESS EXCLUSIVE"),
)
_REFERENCES = re.compile(r'\bREFERENCES (?P<table>[\w."]+)', re.IGNORECASE)
_INDEX = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(?P<index>\S+) ON {_NAME}", re.IGNORECASE
)
_CREATED_OR_ALTERED = re.compile(rf"(?:CREATE|ALTER) TABLE {_NAME}", re.IGNORECASE)
_FOREIGN_KEY = re.compile(r'(?:\bCONSTRAINT (\S+) FOREIGN KEY ?\([^)]*\) )?\bREFERENCES ([\w."]+)', re.IGNORECASE)
_DROPPED_TABLES = re.compile(rf"DROP TABLE {_NAMES}", re.IGNORECASE)
_DROPPED_CONSTRAINT = re.compile(r'\bDROP CONSTRAINT (?:IF EXISTS )?([\w."]+)', re.IGNORECASE)


def locks_of(statement: str) -> dict[str, str]:
    """Return the lock mode of a statement by table, or by index if SQL names only the index.

    A table that the statement creates has the mode NEW.
    """
    line = mask_literals(statement).strip()
    if line.upper().startswith("DO "):
        line = " ".join(statement.split())  # the body of a DO block is a string
    if (altered := _ALTERED.match(line)) is not None:
        modes = [next(mode for kind, mode in _ALTERS if kind.match(action)) for action in alter_table_actions(line)]
        locks = dict.fromkeys(
            _table_names(altered), max(modes, key=LOCK_MODES_BY_STRENGTH.index, default="ACCESS EXCLUSIVE")
        )
    else:
        found = ((pattern.match(line), mode) for pattern, mode in _LOCKS)
        locks = next((dict.fromkeys(_table_names(match), mode) for match, mode in found if match is not None), {})
    if set(locks.values()) & {"NEW", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"}:
        for reference in _REFERENCES.finditer(line):
            locks.setdefault(reference["table"], "SHARE ROW EXCLUSIVE")
    return locks


def _table_names(found: re.Match[str]) -> list[str]:
    return re.findall(r'(?:ONLY )?([\w."]+)', found["tables"])


class SchemaObjects:
    """Objects that revisions create: the table of an index, the referenced table of a foreign key (table, name)."""

    def __init__(self, scripts: Iterable[Script]) -> None:
        self._tables: dict[str, str] = {}
        self._referenced: dict[tuple[str, str], str] = {}
        for line in (mask_literals(statement.text) for script in scripts for statement in statements(script)):
            if (index := _INDEX.match(line)) is not None:
                (self._tables[index["index"]],) = _table_names(index)
            if (altered := _CREATED_OR_ALTERED.match(line)) is not None:
                (table,) = _table_names(altered)
                self._referenced |= {(table, name or to): to for name, to in _FOREIGN_KEY.findall(line)}

    def locks_of(self, statement: str) -> dict[str, str]:
        """Return the lock mode of a statement by table, including tables that it does not name."""
        locks = {self._tables.get(name, name): mode for name, mode in locks_of(statement).items()}
        line = mask_literals(statement)
        dropped = _DROPPED_TABLES.match(line)
        tables = _table_names(dropped) if dropped else []
        constraints = {(table, name) for table in locks for name in _DROPPED_CONSTRAINT.findall(line)}
        referenced = [to for key, to in self._referenced.items() if key[0] in tables or key in constraints]
        return locks | dict.fromkeys(referenced, "ACCESS EXCLUSIVE")

    def locking_statements(self, script: Script) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the statements of a revision that lock older tables, with these locks."""
        new: set[str] = set()
        for statement in statements(script):
            locks = self.locks_of(statement.text)
            new |= {table for table, mode in locks.items() if mode == "NEW"}
            if old := {table: mode for table, mode in locks.items() if table not in new}:
                yield statement.text, old
