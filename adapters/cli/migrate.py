"""`hexapost migrate`: applies pending migrations."""

import argparse

from sqlalchemy import URL

from adapters.cli.databases import with_database
from adapters.cli.errors import NotReadyError
from adapters.cli.output import report
from adapters.postgres.schema.state import upgrade
from adapters.settings import Settings
from migrations.patience import MigrationError
from migrations.phases import Phase


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Apply the pending migrations."""
    with with_database(settings, embedded=options.embedded) as url:
        migrate(url, Phase(options.phase))
    return 0


def migrate(url: URL, phase: Phase = Phase.EXPAND) -> None:
    """Apply the pending migrations of a phase. Raises NotReadyError if one fails."""
    try:
        upgrade(url, report, phase)
    except MigrationError as error:
        raise NotReadyError(str(error)) from error
    report("schema is up to date")
