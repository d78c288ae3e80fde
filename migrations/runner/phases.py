"""Expand and contract revisions.

Expand revisions form one line. `make migrate` applies them before a release, and the previous release works with them.
Contract revisions form a second line. The first one follows an expand revision. Each later one follows the contract
revision before it, and `depends_on` names the expand revision that it completes. `make migrate PHASE=contract` applies
them after all processes run the release in `safe_from`. The release also works without them. A new database gets both
lines at once.
"""

from collections.abc import Iterable

from alembic.runtime.migration import MigrationStep
from alembic.script import Script, ScriptDirectory
from packaging.version import Version

from migrations.runner import revisions
from migrations.runner.lock_retry import MigrationError
from migrations.runner.revisions import Phase, Revision, Revisions


def phase_of(script: Script) -> Phase:
    """Return the phase of a revision. Raises MigrationError if its declaration is missing or incomplete."""
    declared = getattr(script.module, "phase", None)
    if declared not in set(Phase):
        raise MigrationError(f'revision {script.revision} declares no phase; set phase = "expand" or "contract"')
    phase = Phase(declared)
    if phase is Phase.CONTRACT:
        safe_from(script)
    return phase


def safe_from(script: Script) -> str:
    """Return the release from which a contract revision is safe. Raises MigrationError if it is not valid."""
    release = getattr(script.module, "safe_from", None)
    try:
        Version(release if isinstance(release, str) else "")
    except ValueError as error:
        raise MigrationError(
            f'contract revision {script.revision} has no valid safe_from; set a release, such as safe_from = "1.2.0"'
        ) from error
    return str(release)


def revisions_of(scripts: ScriptDirectory) -> Revisions:
    """Return the revisions of a directory."""
    return {
        script.revision: Revision(parents(script), getattr(script.module, "phase", None))
        for script in scripts.walk_revisions()
    }


def expand_heads(scripts: ScriptDirectory) -> frozenset[str]:
    """Return the last expand revision, or several if they branch. Raises MigrationError for an undeclared phase."""
    for script in scripts.walk_revisions():
        phase_of(script)
    return revisions.expand_heads(revisions_of(scripts))


def single_head(heads: Iterable[str]) -> str:
    """Return the only head of a phase. Raises MigrationError if the phase has several."""
    (*more, head) = sorted(heads)
    if more:
        raise MigrationError(f"the revisions of a phase must form one line; heads: {', '.join([*more, head])}")
    return head


def require_linear_phases(scripts: ScriptDirectory) -> None:
    """Raise MigrationError unless the revisions of each phase form one line."""
    expand = expand_heads(scripts)
    single_head(expand)
    single_head(frozenset(scripts.get_heads()) - expand or expand)


def parents(script: Script) -> frozenset[str]:
    """Return the revisions that a revision follows or depends on."""
    return frozenset(script._all_down_revisions)  # noqa: SLF001 - `dependencies` can hold abbreviated ids


def with_ancestors(scripts: ScriptDirectory, names: Iterable[str]) -> frozenset[str]:
    """Return the revisions that this release has, and all their ancestors."""
    return revisions.with_ancestors(revisions_of(scripts), names)


def encode_applied(scripts: ScriptDirectory, heads: Iterable[str]) -> str:
    """Encode the applied revisions, for a release that lacks some of them."""
    applied = with_ancestors(scripts, heads)
    contract = [script for script in scripts.walk_revisions() if phase_of(script) is Phase.CONTRACT]
    releases = {script.revision: safe_from(script) for script in contract}
    return " ".join(f"{name}>={releases[name]}" if name in releases else name for name in sorted(applied))


def select_steps(steps: Iterable[MigrationStep], phase: Phase | None, release: str) -> list[MigrationStep]:
    """Return the steps of a phase. Phase contract includes expand revisions. None is for a new database.

    A new database gets both phases, except contract revisions that are not safe yet and those after them.

    Raises MigrationError if an expand revision needs a contract revision, or a contract revision is not safe yet.
    """
    selected: list[MigrationStep] = []
    skipped: set[str] = set()
    for step in steps:
        script = getattr(step, "revision", None)
        if not step.is_upgrade or not isinstance(script, Script):
            selected.append(step)
        elif phase_of(script) is Phase.EXPAND:
            if missing := parents(script) & skipped:
                raise MigrationError(
                    f"expand revision {script.revision} follows contract revision {', '.join(missing)}"
                )
            selected.append(step)
        elif phase is Phase.EXPAND or parents(script) & skipped:
            skipped.add(script.revision)
        elif Version(safe_from(script)) <= Version(release):
            selected.append(step)
        elif phase is None:
            skipped.add(script.revision)
        else:
            raise MigrationError(
                f"contract revision {script.revision} is safe from release {safe_from(script)}; this is {release}"
            )
    return selected
