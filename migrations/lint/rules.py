"""What squawk does not refuse in a revision, and we do: each rule has a name and says what it has found."""

import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from alembic.script import Script

from migrations.lint.source_checks import internal_imports, offline_mode_checks
from migrations.lock_analysis import WRITE_BLOCKING_LOCKS, locks_of
from migrations.revision_sql import Statement, Transaction, statements, transactions
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import Phase, phase_of, safe_from, version_key
from migrations.sql_text import alter_table_actions, mask_literals, mask_parentheses

Rule = Callable[[Script], Iterator[str]]

_WRITES = re.compile(
    r"(?:UPDATE|DELETE|MERGE|COPY)\b"
    r"|(?:WITH|EXPLAIN|PREPARE)\b.*\b(?:UPDATE|DELETE FROM|INSERT INTO|MERGE INTO)\b"
    r"|DO\b.*\b(?:UPDATE (?:ONLY )?\S+ (?:AS \w+ |\w+ )?SET|DELETE FROM|INSERT INTO [^;]*?\bSELECT|MERGE INTO)\b",
    re.IGNORECASE,
)
_CALLS = re.compile(r"(?:SELECT|VALUES|TABLE|WITH|CALL|EXECUTE)\b|DO\b.*\b(?:PERFORM|CALL)\b", re.IGNORECASE)
_TRANSACTIONS = re.compile(
    r"(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE TRANSACTION)\b", re.IGNORECASE
)
_REWRITES = re.compile(r"VACUUM (?:\([^)]*)?\bFULL\b|CLUSTER\b|REINDEX\b|REFRESH MATERIALIZED VIEW\b", re.IGNORECASE)
_REWRITING = re.compile(
    r"ALTER (?:COLUMN )?+\S+ (?:SET DATA )?TYPE\b|SET (?:(?:UN)?LOGGED|ACCESS METHOD|TABLESPACE)\b"
    r"|ADD (?:COLUMN )?+(?:IF NOT EXISTS )?+\S+ .*(?:\) STORED\b|\bAS IDENTITY\b|\b(?:SMALL|BIG)?SERIAL[248]?\b"
    r"|DEFAULT (?:\w+\.)?(?:random|gen_random_uuid|uuidv[47]|clock_timestamp|timeofday|nextval)\b)",
    re.IGNORECASE,
)
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
_LIMITS = re.compile(r"\b(?:lock|statement|transaction)_timeout\b", re.IGNORECASE)


def unbatched_write(script: Script) -> Iterator[str]:
    """Yield UPDATE, DELETE, INSERT … SELECT outside op.backfill: one transaction for as many rows as there are."""
    for statement in _of_revision(script):
        inserted = re.match("INSERT\\b", statement.text, re.IGNORECASE) and not _has_values(statement)
        if inserted or _WRITES.match(_searched(statement)):
            yield f"rows are written all at once, not by op.backfill: {_short(statement)}"


def opaque_function_call(script: Script) -> Iterator[str]:
    """Yield SELECT f(), CALL p(): what they do, and under which locks, is not in the revision."""
    for statement in _of_revision(script):
        if _CALLS.match(_searched(statement)):
            yield f"what it does is not seen here: {_short(statement)}"


def multiple_statements(script: Script) -> Iterator[str]:
    """Yield statements that are sent together: asyncpg takes one at a time."""
    for statement in _of_revision(script):
        if statement.is_batched:
            yield f"op.execute takes one statement: {_short(statement)}"


def explicit_transaction_control(script: Script) -> Iterator[str]:
    """Yield COMMIT and the like: a repetition after a failure relies on where transactions end."""
    for statement in _of_revision(script):
        if _TRANSACTIONS.match(statement.text):
            yield f"transactions are not a revision's to end: {_short(statement)}"


def raw_concurrently(script: Script) -> Iterator[str]:
    """Yield CONCURRENTLY outside our operations: the time limits hold for it, and it leaves an INVALID index."""
    for statement in _of_revision(script):
        if re.search(r"\bCONCURRENTLY\b", mask_literals(statement.text), re.IGNORECASE):
            yield f"interrupted, it leaves what is INVALID; op.create_index_concurrently does not: {_short(statement)}"


def multi_table_lock(script: Script) -> Iterator[str]:
    """Yield tables locked in one transaction: the first one stays locked while the second is waited for."""
    new: set[str] = set()
    for transaction in transactions(script):
        taken = _write_blocked_tables(transaction, new)
        if transaction.atomic and len(taken) > 1:
            yield f"one transaction locks {', '.join(sorted(taken))}: make it a revision for each"


def table_rewrite(script: Script) -> Iterator[str]:
    """Yield what writes the whole table, or an index, anew while nobody can write."""
    for statement in statements(script):
        line = mask_literals(statement.text)
        concurrently = re.search(r"\bCONCURRENTLY\b", line, re.IGNORECASE)
        if (_REWRITES.match(line) and not concurrently) or any(map(_REWRITING.match, alter_table_actions(line))):
            yield f"the table is written anew: {_short(statement)}"


def not_idempotent(script: Script) -> Iterator[str]:
    """Yield plain statements that steps after them commit: a repetition after a failure meets them again."""
    for upgrade in (True, False):
        for transaction in transactions(script, upgrade=upgrade)[:-1]:
            for statement in transaction.statements:
                if transaction.atomic and not _is_idempotent(statement):
                    yield f"a step commits it, and a repetition fails (IF NOT EXISTS?): {_short(statement)}"


def timeout_override(script: Script) -> Iterator[str]:
    """Yield that a revision has time limits of its own: those it is run with keep the queue behind a lock short."""
    for limit in sorted(set(_LIMITS.findall(Path(script.path).read_text(encoding="utf-8")))):
        yield f"it has a say in {limit}, which is not a revision's to choose"


def offline_dependent(script: Script) -> Iterator[str]:
    """Yield that a revision asks whether there is a server: what it does then is not what is looked at here."""
    for name in offline_mode_checks(Path(script.path)):
        yield f"it asks for {name}: with a server it may do what nobody has seen"


def internal_import(script: Script) -> Iterator[str]:
    """Yield what a revision imports of that which applies revisions: what it has run by it would pass for safe."""
    for name in internal_imports(Path(script.path)):
        yield f"it imports {name}: `op` is all that is for revisions"


def no_downgrade(script: Script) -> Iterator[str]:
    """Yield that the downgrade does nothing."""
    if not statements(script, upgrade=False) and statements(script):
        yield "the downgrade does nothing"


def phase(script: Script) -> Iterator[str]:
    """Yield that the phase is not declared, or that this release cannot bear the contract itself."""
    try:
        if phase_of(script) is Phase.CONTRACT and version_key(safe_from(script)) > version_key(_release()):
            yield f"safe from release {safe_from(script)}, and this is {_release()}: it comes with that one"
    except MigrationError as error:
        yield str(error)


RULES: dict[str, Rule] = {
    rule.__name__.replace("_", "-"): rule
    for rule in (
        unbatched_write,
        opaque_function_call,
        multiple_statements,
        explicit_transaction_control,
        raw_concurrently,
        multi_table_lock,
        table_rewrite,
        not_idempotent,
        timeout_override,
        offline_dependent,
        internal_import,
        no_downgrade,
        phase,
    )
}


def _of_revision(script: Script) -> Iterator[Statement]:
    """Yield the statements of both directions that no safe operation runs."""
    for statement in statements(script) + statements(script, upgrade=False):
        if not statement.from_safe_operation:
            yield statement


def _searched(statement: Statement) -> str:
    """Return what of a statement is run: of a DO all, which is in a string; of a CREATE FUNCTION nothing in strings."""
    return " ".join(
        (statement.text if statement.text.upper().startswith("DO") else mask_literals(statement.text)).split()
    )


def _has_values(statement: Statement) -> bool:
    return re.search(r"\bVALUES\b", mask_parentheses(statement.text), re.IGNORECASE) is not None


def _is_idempotent(statement: Statement) -> bool:
    done = alter_table_actions(mask_literals(statement.text))
    if done:
        return all(map(_IDEMPOTENT_ACTION.match, done))
    return _IDEMPOTENT.match(_searched(statement)) is not None


def _write_blocked_tables(transaction: Transaction, new: set[str]) -> set[str]:
    """Return the tables, of those there were before the revision, on which the transaction stops writers."""
    taken: set[str] = set()
    for statement in transaction.statements:
        for table, mode in locks_of(statement.text).items():
            if mode == "NEW":
                new.add(table)
            elif mode in WRITE_BLOCKING_LOCKS and table not in new:
                taken.add(table)
    return taken


def _short(statement: Statement) -> str:
    return " ".join(statement.text.split())[:100]


def _release() -> str:
    return version("hexapost")
