"""`hexapost migrate`: applies pending migrations. It loads no web framework, which takes half a second."""

import argparse

from sqlalchemy import URL

from adapters.cli.console import print_status
from adapters.cli.database import DatabaseNotReadyError, selected_database
from adapters.postgres.schema.state import upgrade
from adapters.settings import Settings
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import Phase


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Apply the pending migrations of a phase."""
    with selected_database(settings, embedded=options.embedded) as url:
        apply_migrations(url, Phase(options.phase))
    return 0


def apply_migrations(url: URL, phase: Phase = Phase.EXPAND) -> None:
    """Apply the pending migrations of a phase. Raises DatabaseNotReadyError if one fails."""
    try:
        upgrade(url, print_status, phase)
    except MigrationError as error:
        raise DatabaseNotReadyError(str(error)) from error
    print_status("schema is up to date")
