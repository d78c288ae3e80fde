"""Applying the migrations, and telling whether the database has those this release needs."""

from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL

import migrations
from adapters.postgres.database import Database
from adapters.postgres.errors import translated
from adapters.postgres.schema import applied_revisions


class SchemaState(StrEnum):
    """How the schema of a database stands to the one this release was written for."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"


def alembic_config(url: URL | None = None) -> Config:
    """Return Alembic's configuration, wherever the packages are installed; `url` overrides DATABASE_URL."""
    config = Config(attributes={"url": url})
    (directory,) = migrations.__path__
    config.set_main_option("script_location", str(Path(directory)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """Return the revisions of this release, and the latest among them."""
    scripts = ScriptDirectory.from_config(alembic_config())
    return frozenset(script.revision for script in scripts.walk_revisions()), frozenset(scripts.get_heads())


def upgrade(url: URL, report: Callable[[str], None]) -> None:
    """Apply every revision that is missing, and report each in a line. Not to be called in a running event loop.

    Raises StorageUnavailableError when the database cannot be reached.
    """
    config = alembic_config(url)
    config.attributes["report"] = report
    try:
        command.upgrade(config, "head")
    except Exception as error:
        meaning = translated(error, connection_lost=True)
        if meaning is None:
            raise
        raise meaning from error


async def schema_state(database: Database) -> SchemaState:
    """Tell how the database's schema stands to this release. Raises a TransientError when it cannot be asked."""
    known, heads = _revisions()
    applied = await applied_revisions(database)
    if applied == heads:
        return SchemaState.CURRENT
    # A revision that this release does not know was written after it: the schema arrives before the release.
    return SchemaState.AHEAD if applied - known else SchemaState.BEHIND
