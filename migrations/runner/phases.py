"""Expand and contract: what the release that runs does not notice, and what only a later one bears.

Expand revisions are one line, and `make migrate` applies them before a release. Contract revisions are another line
that leaves it: each follows the contract revision before it, or, the first, an expand revision; it `depends_on` the
expand revision that it completes. They wait until every process is of the release that they name (`safe_from`) and
somebody says so (`make migrate PHASE=contract`). A schema without them is the one that this release needs.
"""

from collections.abc import Iterable
from enum import StrEnum

from alembic.runtime.migration import MigrationStep
from alembic.script import Script, ScriptDirectory
from packaging.version import Version

from migrations.runner.lock_retry import MigrationError


class Phase(StrEnum):
    """When a revision may be applied: at any time, or when no process of an older release is left."""

    EXPAND = "expand"
    CONTRACT = "contract"


def phase_of(script: Script) -> Phase:
    """Return what the revision declares. Raises MigrationError when it declares nothing that makes sense."""
    declared = getattr(script.module, "phase", None)
    if declared not in set(Phase):
        raise MigrationError(f'revision {script.revision} declares no phase: say phase = "expand" or "contract"')
    phase = Phase(declared)
    if phase is Phase.CONTRACT:
        safe_from(script)
    return phase


def safe_from(script: Script) -> str:
    """Return the release from which a contract revision is safe. Raises MigrationError when it names none."""
    release = getattr(script.module, "safe_from", None)
    try:
        version_key(release if isinstance(release, str) else "")
    except ValueError as error:
        raise MigrationError(
            f'contract revision {script.revision} does not name the release from which it is safe: safe_from = "1.2.0"'
        ) from error
    return str(release)


def version_key(release: str) -> Version:
    """Return what releases are compared by. Raises ValueError for what is no version (PEP 440)."""
    return Version(release)


def expand_heads(scripts: ScriptDirectory) -> frozenset[str]:
    """Return the last expand revision, or all that no expand revision follows: what this release needs."""
    expand = {script.revision: script for script in scripts.walk_revisions() if phase_of(script) is Phase.EXPAND}
    return frozenset(expand) - {before for script in expand.values() for before in parents(script)}


def parents(script: Script) -> frozenset[str]:
    """Return the revisions that come before it: those that it follows and those on which it depends."""
    return frozenset(script._all_down_revisions)  # noqa: SLF001 - resolved, where dependencies may be abbreviated


def with_ancestors(scripts: ScriptDirectory, revisions: Iterable[str]) -> frozenset[str]:
    """Return these revisions and all that come before them, as far as this release knows them."""
    known = {script.revision: script for script in scripts.walk_revisions()}
    found: set[str] = set()
    left = [revision for revision in revisions if revision in known]
    while left:
        revision = left.pop()
        if revision not in found:
            found.add(revision)
            left += parents(known[revision])
    return frozenset(found)


def encode_applied(scripts: ScriptDirectory, heads: Iterable[str]) -> str:
    """Return words that name these revisions and all before them, for a release that does not know them."""
    applied = with_ancestors(scripts, heads)
    contract = {each: safe_from(each) for each in scripts.walk_revisions() if phase_of(each) is Phase.CONTRACT}
    releases = {script.revision: release for script, release in contract.items()}
    return " ".join(f"{name}>={releases[name]}" if name in releases else name for name in sorted(applied))


def decode_applied(words: str) -> dict[str, str | None]:
    """Return the revisions that were named, a contract revision with the release from which it is safe."""
    named = (word.partition(">=") for word in words.split())
    return {revision: release or None for revision, _, release in named}


def select_steps(steps: Iterable[MigrationStep], phase: Phase, release: str) -> list[MigrationStep]:
    """Return the steps of that phase: contract is everything, expand leaves contract revisions out.

    Raises MigrationError when one that is left out is needed by one that is not, or is not safe yet at this release.
    """
    taken: list[MigrationStep] = []
    left_out: set[str] = set()
    for step in steps:
        script = getattr(step, "revision", None)
        if not step.is_upgrade or not isinstance(script, Script) or phase_of(script) is Phase.EXPAND:
            if isinstance(script, Script) and step.is_upgrade and (needed := parents(script) & left_out):
                raise MigrationError(f"expand revision {script.revision} follows contract revision {', '.join(needed)}")
            taken.append(step)
        elif phase is Phase.EXPAND:
            left_out.add(script.revision)
        elif version_key(safe_from(script)) > version_key(release):
            raise MigrationError(
                f"contract revision {script.revision} is safe from release {safe_from(script)}, and this is {release}"
            )
        else:
            taken.append(step)
    return taken
