"""`hexapost migrate`: applies pending migrations."""

import argparse

from sqlalchemy import URL

from adapters.cli.console import print_status
from adapters.cli.database_selection import selected_database
from adapters.cli.errors import DatabaseNotReadyError
from adapters.postgres.schema.state import upgrade
from adapters.settings import Settings
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import Phase


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Apply the pending migrations."""
    with selected_database(settings, embedded=options.embedded) as url:
        migrate(url, Phase(options.phase))
    return 0


def migrate(url: URL, phase: Phase = Phase.EXPAND) -> None:
    """Apply the pending migrations of a phase. Raises DatabaseNotReadyError if one fails."""
    try:
        upgrade(url, print_status, phase)
    except MigrationError as error:
        raise DatabaseNotReadyError(str(error)) from error
    print_status("schema is up to date")
