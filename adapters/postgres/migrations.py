"""Applying the migrations, and telling whether the database has those this release needs."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from types import MappingProxyType

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from adapters.postgres.database import Database
from adapters.postgres.errors import translated
from adapters.postgres.schema import applied_revisions, record_of_revisions
from migrations.configuration import configuration
from migrations.patience import MigrationError
from migrations.phases import Phase, expand_heads, ordered, recorded, with_ancestors


class SchemaState(StrEnum):
    """How the schema of a database stands to the one this release was written for."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"
    TOO_NEW = "too new"


@cache
def scripts() -> ScriptDirectory:
    """Return the revisions of this release."""
    return ScriptDirectory.from_config(configuration())


def upgrade(url: URL, report: Callable[[str], None], phase: Phase = Phase.EXPAND) -> None:
    """Apply every revision of the phase that is missing, and report each in a line. Not to be called in an event loop.

    Raises StorageUnavailableError when the database cannot be reached, MigrationError when a revision was not applied.
    """
    try:
        command.upgrade(configuration(url=url, report=report, phase=phase), "heads")
    except Exception as error:
        meaning = translated(error, connection_lost=True)
        if meaning is None or isinstance(error, MigrationError):
            raise
        raise meaning from error


async def schema_state(database: Database) -> SchemaState:
    """Tell how the database's schema stands to this release. Raises a TransientError when it cannot be asked."""
    applied = await applied_revisions(database)
    if applied <= with_ancestors(scripts(), applied):
        return state_of(scripts(), applied)
    return state_of(scripts(), applied, recorded(await record_of_revisions(database)))


def state_of(
    directory: ScriptDirectory, applied: frozenset[str], record: Mapping[str, str | None] = MappingProxyType({})
) -> SchemaState:
    """Tell how a schema with these revisions stands to the release with those.

    Contract revisions that the release knows are not asked about: it works before them as well as after. What came
    before a revision that it does not know is in the record: revisions, and from which release a contract one is safe.
    """
    there = with_ancestors(directory, applied)
    needed = expand_heads(directory)
    if applied <= there:
        return SchemaState.CURRENT if needed <= there else SchemaState.BEHIND
    # A revision that this release does not know was written after it: the schema arrives before the release.
    if any(release and ordered(release) > ordered(version("hexapost")) for release in record.values()):
        return SchemaState.TOO_NEW
    return SchemaState.AHEAD if needed <= there | record.keys() else SchemaState.BEHIND
