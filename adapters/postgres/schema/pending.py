"""The pending revisions of a database, and their locks."""

from dataclasses import dataclass

from adapters.postgres.pool import Database
from adapters.postgres.schema.state import applied_revisions
from adapters.postgres.schema.upgrade import script_directory
from migrations.runner.phases import phase_of, safe_from, with_ancestors
from migrations.runner.revisions import Phase
from migrations.sql.locks import SchemaObjects


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRevision:
    """A pending revision: its subject, the release from which it is safe (contract), and its locks by statement."""

    revision: str
    subject: str
    safe_from: str | None
    locks: list[tuple[str, dict[str, str]]]

    def lines(self) -> list[str]:
        """Return lines for humans: the revision with its phase, then each statement with its locks."""
        when = f"contract, after all processes run release {self.safe_from} or later" if self.safe_from else "expand"
        found = [f"pending: {self.revision}: {self.subject} ({when})"]
        for statement, locks in self.locks:
            modes = ", ".join(f"{mode} on {table}" for table, mode in locks.items())
            found.append(f"  {modes}: {statement[:100]}")
        return found


async def pending_revisions(database: Database) -> list[PendingRevision]:
    """Return the pending revisions of both phases in order.

    Raises a TransientStorageError if the database is unavailable.
    """
    directory = script_directory()
    there = with_ancestors(directory, await applied_revisions(database))
    missing = [script for script in directory.walk_revisions() if script.revision not in there]
    schema_objects = SchemaObjects(directory.walk_revisions())
    return [
        PendingRevision(
            revision=script.revision,
            subject=str(script.doc),
            safe_from=safe_from(script) if phase_of(script) is Phase.CONTRACT else None,
            locks=list(schema_objects.locking_statements(script)),
        )
        for script in reversed(missing)
    ]
