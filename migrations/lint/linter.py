"""`python -m migrations.lint.linter`: refuse revisions that others would notice, without a server.

Each transaction of each upgrade goes through squawk, and the revision through the rules that squawk lacks. A revision
may have an exception, with the reason: `exceptions = {"ban-drop-column": "nobody reads it since release 0.2.0"}`. It is
for one finding; where a rule has several, a part of the statement says which: `"ban-drop-column: DROP COLUMN a"`.
"""

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

import migrations.operations  # noqa: F401 - registers them
from migrations.alembic_config import DIRECTORY, alembic_config
from migrations.lint.rules import RULES
from migrations.lint.source_checks import select_star
from migrations.revision_generator import require_linear_phases
from migrations.revision_sql import Transaction, transactions
from migrations.runner.lock_retry import LockRetryPolicy, MigrationError
from migrations.runner.phases import Phase

SQUAWK = Path(sysconfig.get_path("scripts")) / "squawk"
_TIMEOUTS = "".join(f"SET {name} = {value};\n" for name, value in LockRetryPolicy().limits().items())
_IGNORED_SQUAWK_RULES = (
    "prefer-bigint-over-int",  # `version` counts changes of one row
    "prefer-robust-stmts",  # a transaction is repeated as a whole; not-idempotent looks at the rest
    "ban-concurrent-index-creation-in-transaction",  # every CONCURRENTLY here is outside of one
)
_ALLOWED_IN_CONTRACT = frozenset(
    {
        *("ban-drop-column", "ban-drop-constraint", "ban-drop-default", "ban-drop-not-null", "ban-drop-table"),
        *("renaming-column", "renaming-table", "changing-column-type"),
    }
)
"""What breaks the release before: the reason for a contract revision, and no fault in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a revision; with a reason, it is an exception."""

    revision: str
    rule: str
    message: str
    reason: str | None = None

    def __str__(self) -> str:
        allowed = f" (allowed: {self.reason})" if self.reason else ""
        return f"revision {self.revision}: {self.rule}: {self.message}{allowed}"


def lint(scripts: ScriptDirectory) -> Iterator[Finding]:
    """Yield what is wrong with the revisions, exceptions included."""
    try:
        require_linear_phases(scripts)
    except MigrationError as error:
        yield Finding(revision="*", rule="phase", message=str(error))
        return
    for script in reversed(list(scripts.walk_revisions())):
        yield from lint_revision(script)


def lint_revision(script: Script) -> Iterator[Finding]:
    """Yield what is wrong with a revision, exceptions included."""
    return findings(script, _found(script))


def _found(script: Script) -> Iterator[tuple[str, str]]:
    try:
        transactions(script)
        transactions(script, upgrade=False)
    except Exception as error:  # noqa: BLE001 - whatever a revision may raise
        yield "offline-dependent", f"it cannot be written as SQL: {error}"
        return
    for rule, look in RULES.items():
        for words in look(script):
            yield rule, words
    borne = _ALLOWED_IN_CONTRACT if getattr(script.module, "phase", None) == Phase.CONTRACT else frozenset()
    added: set[str] = set()
    for transaction in transactions(script):
        for rule, words in squawk(_without_scaffolding(transaction, added)):
            if rule not in borne:
                yield rule, words


def _without_scaffolding(transaction: Transaction, added: set[str]) -> Transaction:
    """Leave out the end of a constraint that the revision itself has added; note what it adds."""
    left = []
    for statement in transaction.statements:
        added.update(re.findall(r"\bADD CONSTRAINT (\S+)", statement.text))
        dropped = re.search(r"\bDROP CONSTRAINT IF EXISTS (\S+)$", statement.text)
        if dropped is None or dropped[1] not in added:
            left.append(statement)
    return Transaction(transaction.atomic, left)


def findings(script: Script, found: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Yield what was found, rules and words, with the reason, if the revision gives one, why it is allowed."""
    found = list(found)
    times = Counter(rule for rule, _ in found)
    exceptions: dict[str, str] = getattr(script.module, "exceptions", {})
    for rule, words in found:
        reasons = [reason for key, reason in exceptions.items() if _is_meant(key, rule, words, times[rule])]
        yield Finding(revision=script.revision, rule=rule, message=words, reason=reasons[0] if reasons else None)


def _is_meant(exception: str, rule: str, words: str, times: int) -> bool:
    excepted, _, part = exception.partition(": ")
    return excepted == rule and (part in words if part else times == 1)


def squawk(transaction: Transaction) -> Iterator[tuple[str, str]]:
    """Yield what squawk finds in a transaction: a rule and words about it."""
    if not transaction.statements:
        return
    sql = _TIMEOUTS + "".join(f"{statement.text};\n" for statement in transaction.statements)
    arguments = ["--pg-version=18", "--reporter=json", *(f"--exclude={rule}" for rule in _IGNORED_SQUAWK_RULES)]
    if transaction.atomic:
        arguments.append("--assume-in-transaction")
    done = subprocess.run(  # noqa: S603 - the linter that is locked with us
        [SQUAWK, *arguments], input=sql, capture_output=True, text=True, check=False, timeout=60
    )
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise MigrationError(f"squawk: {done.stderr or done.stdout}") from None
    for each in found:
        line = sql.splitlines()[each["line"]] if each["line"] < sql.count("\n") else ""
        yield each["rule_name"], f"{each['message']} ({line.strip()[:80]})"


def main() -> int:
    """Lint all revisions and all code; return 1 when something is refused."""
    found = list(lint(ScriptDirectory.from_config(alembic_config())))
    stars = [
        star for root in ("adapters", "application", "migrations") for star in select_star(DIRECTORY.parent / root)
    ]
    for line in [*map(str, found), *stars]:
        sys.stdout.write(f"{line}\n")
    return 1 if stars or any(each.reason is None for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
