"""Applies migrations, and compares the schema of a database with this release."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from types import MappingProxyType

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from adapters.postgres.pool import Database
from adapters.postgres.schema.version import applied_revisions, record_of_revisions
from adapters.postgres.sqlstate import to_port_error
from migrations.runner.alembic_config import alembic_config
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import Phase, decode_applied, expand_heads, version_key, with_ancestors


class SchemaState(StrEnum):
    """The state of a schema relative to this release."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"
    INCOMPATIBLE = "too new"


@cache
def script_directory() -> ScriptDirectory:
    """Return the revisions of this release."""
    return ScriptDirectory.from_config(alembic_config())


def upgrade(url: URL, report: Callable[[str], None], phase: Phase = Phase.EXPAND) -> None:
    """Apply all pending revisions of a phase, and report each in a line. Do not call it in an event loop.

    Raises StorageUnavailableError if the database is unreachable, and MigrationError if a revision fails.
    """
    try:
        command.upgrade(alembic_config(url=url, report=report, phase=phase), "heads")
    except Exception as error:
        meaning = to_port_error(error, connection_lost=True)
        if meaning is None or isinstance(error, MigrationError):
            raise
        raise meaning from error


async def schema_state(database: Database) -> SchemaState:
    """Return the state of the schema. Raises a TransientStorageError if the database is unavailable."""
    directory, applied = script_directory(), await applied_revisions(database)
    is_known = applied <= with_ancestors(directory, applied)
    record = {} if is_known else decode_applied(await record_of_revisions(database))
    return compare_revisions(directory, applied, record)


def compare_revisions(
    directory: ScriptDirectory, applied: frozenset[str], record: Mapping[str, str | None] = MappingProxyType({})
) -> SchemaState:
    """Return the state of a schema with the given applied revisions.

    The release works with and without its contract revisions, so they are ignored. `record` lists the revisions before
    an unknown one. For each contract revision it has the release from which it is safe.
    """
    known = with_ancestors(directory, applied)
    needed = expand_heads(directory)
    if applied <= known:
        return SchemaState.CURRENT if needed <= known else SchemaState.BEHIND
    # An unknown revision belongs to a later release, whose expand revisions are applied before its rollout.
    if any(release and version_key(release) > version_key(version("hexapost")) for release in record.values()):
        return SchemaState.INCOMPATIBLE
    return SchemaState.AHEAD if needed <= known | record.keys() else SchemaState.BEHIND
