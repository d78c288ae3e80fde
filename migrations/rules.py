"""What squawk does not refuse in a revision, and we do: each rule has a name and says what it has found."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from alembic.script import Script

from migrations.patience import MigrationError
from migrations.phases import Phase, ordered, phase_of, safe_from
from migrations.statements import STOPS_WRITERS, Transaction, flat, locks, transactions

Rule = Callable[[Script], Iterator[str]]

_WRITES = re.compile(r"(?:WITH\b.*|DO\b.*)?\b(?:UPDATE|DELETE FROM|INSERT INTO \S+ SELECT|MERGE INTO)\b", re.IGNORECASE)
_REWRITES = re.compile(
    r"ALTER TABLE .*(?:\bTYPE\b|\bSTORED\b|SET (?:UN)?LOGGED|SET ACCESS METHOD|SET TABLESPACE"
    r"|ADD COLUMN .*\b(?:SERIAL|BIGSERIAL|IDENTITY)\b"
    r"|ADD COLUMN .*DEFAULT (?:random|gen_random_uuid|uuidv[47]|clock_timestamp|timeofday|nextval)\b)"
    r"|VACUUM FULL|CLUSTER\b|REFRESH MATERIALIZED VIEW (?!CONCURRENTLY)",
    re.IGNORECASE,
)
_REPEATABLE = re.compile(r"\bIF (?:NOT )?EXISTS\b|^CREATE OR REPLACE\b|^COMMENT ON\b", re.IGNORECASE)
_LIMITS = re.compile(r"\b(?:lock|statement|transaction)_timeout\b", re.IGNORECASE)
_STAR = re.compile(r"\b(?:SELECT|RETURNING)\s+(?:\w+\.)?\*(?!\))", re.IGNORECASE)


def unbatched_write(script: Script) -> Iterator[str]:
    """Yield UPDATE, DELETE, INSERT … SELECT outside op.backfill: one transaction for as many rows as there are."""
    for transaction in transactions(script) + transactions(script, upgrade=False):
        for statement in transaction.statements:
            if _WRITES.match(flat(statement)) and not statement.startswith("DO $backfill$"):
                yield f"rows are written all at once, not by op.backfill: {_short(statement)}"


def several_tables(script: Script) -> Iterator[str]:
    """Yield tables locked in one transaction: the first one stays locked while the second is waited for."""
    new: set[str] = set()
    for transaction in transactions(script):
        taken = _stopped(transaction, new)
        if transaction.atomic and len(taken) > 1:
            yield f"one transaction locks {', '.join(sorted(taken))}: make it a revision for each"


def rewrite(script: Script) -> Iterator[str]:
    """Yield what writes the whole table anew, under ACCESS EXCLUSIVE."""
    for transaction in transactions(script):
        for statement in transaction.statements:
            if _REWRITES.match(flat(statement)) and "NEW" not in locks(statement).values():
                yield f"the table is written anew: {_short(statement)}"


def not_repeatable(script: Script) -> Iterator[str]:
    """Yield plain statements beside steps that commit them: a repetition after a failure meets them again."""
    found = transactions(script)
    if all(transaction.atomic for transaction in found):
        return
    for transaction in found:
        for statement in transaction.statements:
            if transaction.atomic and not _REPEATABLE.search(flat(statement)):
                yield f"a step commits it, and a repetition fails (IF NOT EXISTS?): {_short(statement)}"


def own_time_limits(script: Script) -> Iterator[str]:
    """Yield that a revision has time limits of its own: those it is run with keep the queue behind a lock short."""
    for limit in sorted(set(_LIMITS.findall(Path(script.path).read_text(encoding="utf-8")))):
        yield f"it has a say in {limit}, which is not a revision's to choose"


def no_downgrade(script: Script) -> Iterator[str]:
    """Yield that the downgrade does nothing."""
    if not transactions(script, upgrade=False) and transactions(script):
        yield "the downgrade does nothing"


def phase(script: Script) -> Iterator[str]:
    """Yield that the phase is not declared, or that this release cannot bear the contract itself."""
    try:
        if phase_of(script) is Phase.CONTRACT and ordered(safe_from(script)) > ordered(_release()):
            yield f"safe from release {safe_from(script)}, and this is {_release()}: it comes with that one"
    except MigrationError as error:
        yield str(error)


RULES: dict[str, Rule] = {
    rule.__name__.replace("_", "-"): rule
    for rule in (unbatched_write, several_tables, rewrite, not_repeatable, own_time_limits, no_downgrade, phase)
}


def select_star(root: Path) -> Iterator[str]:
    """Yield where code asks for all columns: its cached plans fail when a migration adds one."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _STAR.search(node.value):
                yield f"{path}:{node.lineno}: asks for all columns, which fails in a rolling migration: name them"


def _stopped(transaction: Transaction, new: set[str]) -> set[str]:
    """Return the tables, of those there were before the revision, on which the transaction stops writers."""
    taken: set[str] = set()
    for statement in transaction.statements:
        for table, mode in locks(statement).items():
            if mode == "NEW":
                new.add(table)
            elif mode in STOPS_WRITERS and table not in new:
                taken.add(table)
    return taken


def _short(statement: str) -> str:
    return inspect.cleandoc(flat(statement))[:100]


def _release() -> str:

    return version("hexapost")
