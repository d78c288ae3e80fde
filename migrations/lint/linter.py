"""`python -m migrations.lint.linter`: reject revisions that block the service. Needs no server.

Each transaction of an upgrade is checked by squawk, and the revision by the rules that squawk lacks. A revision can
declare an exception with its reason: `exceptions = {"ban-drop-column": "unused since release 0.2.0"}`. An exception
matches one finding. If a rule has several, add a part of the statement: `"ban-drop-column: DROP COLUMN a"`.
"""

import ast
import json
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from alembic.script import Script, ScriptDirectory

from migrations.lint.rules import check
from migrations.runner.alembic_config import DIRECTORY, alembic_config, error_location
from migrations.runner.lock_retry import LockRetryPolicy, MigrationError
from migrations.runner.phases import require_linear_phases
from migrations.runner.revisions import Phase
from migrations.sql.revision_sql import Transaction, transactions

SQUAWK = Path(sysconfig.get_path("scripts")) / "squawk"
_TIMEOUTS = "".join(f"SET {name} = {value};\n" for name, value in LockRetryPolicy().limits().items())
_IGNORED_SQUAWK_RULES = (
    "prefer-bigint-over-int",  # some integers are small; autogenerate compares the types with the models
    "prefer-robust-stmts",  # failed transactions are rolled back; not-idempotent checks the others
    "ban-concurrent-index-creation-in-transaction",  # CONCURRENTLY always runs outside a transaction
)
_ALLOWED_IN_CONTRACT = frozenset(
    {
        *("ban-drop-column", "ban-drop-constraint", "ban-drop-default", "ban-drop-function", "ban-drop-not-null"),
        *("ban-drop-table", "renaming-column", "renaming-table", "changing-column-type"),
    }
)
"""Rules for changes that break the previous release: the purpose of a contract revision."""

_STAR = re.compile(
    r"\b(?:SELECT|RETURNING)\b(?:(?!\b(?:SELECT|FROM)\b).)*?[\s,.]\*\s*(?:[,);]|$|\b(?:FROM|INTO)\b)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A violation of a rule. With a reason, the revision allows it."""

    revision: str
    rule: str
    message: str
    reason: str | None = None

    def __str__(self) -> str:
        allowed = f" (allowed: {self.reason})" if self.reason else ""
        return f"revision {self.revision}: {self.rule}: {self.message}{allowed}"


def lint(scripts: ScriptDirectory) -> Iterator[Finding]:
    """Yield the findings in all revisions, exceptions included."""
    try:
        require_linear_phases(scripts)
    except MigrationError as error:
        yield Finding(revision="*", rule="phase", message=str(error))
        return
    for script in reversed(list(scripts.walk_revisions())):
        yield from lint_revision(script)


def lint_revision(script: Script) -> Iterator[Finding]:
    """Yield the findings in a revision, exceptions included."""
    return findings(script, _violations(script))


def require_safe(script: Script) -> None:
    """Raise MigrationError for the first finding in a revision that it does not allow."""
    found = next((each for each in lint_revision(script) if each.reason is None), None)
    if found is not None:
        raise MigrationError(f"{' '.join(str(found).split())}; nothing was applied. To override: --allow-unsafe")


def _violations(script: Script) -> Iterator[tuple[str, str]]:
    try:
        upgrade = transactions(script)
        downgrade = transactions(script, upgrade=False)
    except Exception as error:  # noqa: BLE001 - a revision can raise any error
        yield (
            "offline-dependent",
            f"{error_location(error)}: cannot be converted to SQL: {type(error).__name__}: {error}",
        )
        return
    yield from check(script, upgrade, downgrade)
    is_contract = getattr(script.module, "phase", None) == Phase.CONTRACT
    added: set[str] = set()
    for transaction in upgrade:
        for rule, message in squawk(_without_temporary_constraints(transaction, added)):
            if not (is_contract and rule in _ALLOWED_IN_CONTRACT):
                yield rule, message


def _without_temporary_constraints(transaction: Transaction, added: set[str]) -> Transaction:
    """Remove the DROP of constraints that the revision has added itself. Add its new constraints to `added`."""
    remaining = []
    for statement in transaction.statements:
        added.update(re.findall(r"\bADD CONSTRAINT (\S+)", statement.text))
        dropped = re.search(r"\bDROP CONSTRAINT IF EXISTS (\S+)$", statement.text)
        if dropped is None or dropped[1] not in added:
            remaining.append(statement)
    return Transaction(transaction.atomic, remaining)


def findings(script: Script, violations: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Yield a finding for each violation (rule, message), with the reason if the revision allows it."""
    violations = list(violations)
    counts = Counter(rule for rule, _ in violations)
    exceptions: dict[str, str] = getattr(script.module, "exceptions", {})
    for rule, message in violations:
        reasons = [reason for key, reason in exceptions.items() if _matches(key, rule, message, counts[rule])]
        yield Finding(revision=script.revision, rule=rule, message=message, reason=reasons[0] if reasons else None)


def _matches(exception: str, rule: str, message: str, count: int) -> bool:
    excepted_rule, _, part = exception.partition(": ")
    return excepted_rule == rule and (part in message if part else count == 1)


def squawk(transaction: Transaction) -> Iterator[tuple[str, str]]:
    """Yield the rule and message of each squawk finding in a transaction. Without squawk, yield nothing."""
    if not transaction.statements or not SQUAWK.exists():
        return
    sql = _TIMEOUTS + "".join(f"{statement.text};\n" for statement in transaction.statements)
    arguments = ["--pg-version=18", "--reporter=json", *(f"--exclude={rule}" for rule in _IGNORED_SQUAWK_RULES)]
    if transaction.atomic:
        arguments.append("--assume-in-transaction")
    done = subprocess.run(  # noqa: S603 - a locked dependency
        [SQUAWK, *arguments], input=sql, capture_output=True, text=True, check=False, timeout=60
    )
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise MigrationError(f"squawk failed: {done.stderr or done.stdout}") from None
    for each in found:
        line = sql.splitlines()[each["line"]] if each["line"] < sql.count("\n") else ""
        yield each["rule_name"], f"{each['message']} ({line.strip()[:80]})"


def select_star(root: Path) -> Iterator[str]:
    """Yield the places that select all columns. Their cached plans fail after a migration adds a column."""
    for path in sorted(root.rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for line in sorted({lineno for lineno, text in map(_string, nodes) if _STAR.search(text)}):
            yield f"{path}:{line}: selects all columns, which fails during a rolling migration; list the columns"


def _string(node: ast.AST) -> tuple[int, str]:
    """Return the line and text of a string; in an f-string, an expression is `_`."""
    if not isinstance(node, ast.Constant | ast.JoinedStr):
        return 0, ""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "_" for part in parts)


def main() -> int:
    """Lint all revisions and all code. Return 1 if a finding is not allowed."""
    if not SQUAWK.exists():
        raise MigrationError(f"squawk is not installed at {SQUAWK}")
    found = list(lint(ScriptDirectory.from_config(alembic_config())))
    roots = ("adapters", "application", "migrations")
    stars = [star for root in roots for star in select_star(DIRECTORY.parent / root)]
    for line in [*map(str, found), *stars]:
        sys.stdout.write(f"{line}\n")
    return int(bool(stars) or any(each.reason is None for each in found))


if __name__ == "__main__":
    sys.exit(main())
