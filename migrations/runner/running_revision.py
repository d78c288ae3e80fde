"""The state of the revision that the runner applies."""

from collections.abc import Callable
from dataclasses import dataclass

from alembic.runtime.migration import MigrationContext


@dataclass(slots=True)
class RunningRevision:
    """A revision while it is applied or undone, retries included.

    `require_lock` raises MigrationError if the migration lock is lost. `commits` is True after the first safe
    operation, which commits the statements before it. `backfills` counts the backfills that this attempt has started.
    """

    revision: str = ""
    up: bool = True
    require_lock: Callable[[], None] = lambda: None
    commits: bool = False
    backfills: int = 0


def running(context: MigrationContext) -> RunningRevision:
    """Return the running revision of a migration context."""
    found = context.opts.get("running_revision")
    return found if isinstance(found, RunningRevision) else RunningRevision()


def set_running(context: MigrationContext, revision: RunningRevision) -> None:
    """Set the running revision at the start of an attempt."""
    revision.backfills = 0
    context.opts["running_revision"] = revision
