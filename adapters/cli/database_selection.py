"""Selects the database of a command: DATABASE_URL or the embedded one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, make_url

from adapters.cli.console import print_status
from adapters.embedded import EmbeddedPostgres
from adapters.settings import DATABASE_URL, EXAMPLE_URL, Settings, SettingsError


@contextmanager
def selected_database(
    settings: Settings, *, embedded: bool, report: Callable[[str], None] = print_status
) -> Iterator[URL]:
    """Yield the URL of the database. An embedded one runs until the block ends. `report` gets a line for each step.

    Raises SettingsError without DATABASE_URL and --embedded, and EmbeddedPostgresError if the start fails.
    """
    if settings.database_url is not None:
        report(f"using the database of {DATABASE_URL} at {settings.database_url.host or 'a local socket'}")
        yield settings.database_url
    elif embedded:
        with EmbeddedPostgres(settings.state_directory / "postgres", report=report) as server:
            yield make_url(server.url())
    else:
        raise SettingsError(
            [f"{DATABASE_URL} is not set. Example: {EXAMPLE_URL}. Or pass --embedded to start a local PostgreSQL."]
        )
