"""The state of the revision that the runner applies."""

from collections.abc import Callable

from alembic.runtime.migration import MigrationContext


class RunningRevision:
    """A revision while it is applied or undone, retries included.

    `require_lock` raises MigrationError if the migration lock is lost.
    """

    def __init__(self, revision: str = "", *, up: bool = True, require_lock: Callable[[], None] = lambda: None) -> None:
        self.revision = revision
        self.up = up
        self.require_lock = require_lock
        self.commits = False
        """True after the first safe operation, which commits the statements before it."""
        self.backfills = 0
        """The number of backfills that this attempt has started."""


def running(context: MigrationContext) -> RunningRevision:
    """Return the running revision of a migration context."""
    found = context.opts.get("running_revision")
    return found if isinstance(found, RunningRevision) else RunningRevision()


def set_running(context: MigrationContext, revision: RunningRevision) -> None:
    """Set the running revision at the start of an attempt."""
    revision.backfills = 0
    context.opts["running_revision"] = revision
