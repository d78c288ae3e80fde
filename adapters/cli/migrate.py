"""`hexapost migrate`."""

import argparse

from sqlalchemy import URL

from adapters.cli.databases import with_database
from adapters.cli.output import report
from adapters.postgres.migrations import upgrade
from adapters.settings import Settings


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Apply the migrations that are missing."""
    with with_database(settings, embedded=options.embedded) as url:
        migrate(url)
    return 0


def migrate(url: URL) -> None:
    """Apply the migrations that are missing to a database, and say so."""
    upgrade(url, report)
    report("the schema is that of this release")
