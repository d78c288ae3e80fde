"""What is under way: a revision, what of it stays when it fails, and whether nobody else migrates meanwhile."""

from collections.abc import Callable

from alembic.runtime.migration import MigrationContext


class RunningRevision:
    """The revision that is being applied or undone, for as long as it takes, attempts included.

    `require_lock` raises MigrationError when another migration may be under way.
    """

    def __init__(self, revision: str, *, up: bool, still_alone: Callable[[], None]) -> None:
        self.revision = revision
        self.up = up
        self.require_lock = still_alone
        self.commits = False
        """Whether it came to a safe operation, which commits what came before."""
        self.backfills = 0
        """How many this attempt has come to: the number of the last one."""


def running(context: MigrationContext) -> RunningRevision:
    """Return what is under way in these migrations."""
    found = context.opts.get("current")
    return found if isinstance(found, RunningRevision) else RunningRevision("", up=True, still_alone=lambda: None)


def set_running(context: MigrationContext, revision: RunningRevision) -> None:
    """Note that this is under way now, from its beginning."""
    revision.backfills = 0
    context.opts["current"] = revision
