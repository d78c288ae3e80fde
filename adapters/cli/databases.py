"""Which database a command works on: the one in DATABASE_URL, or the embedded one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, make_url

from adapters.cli.output import report
from adapters.embedded import EmbeddedPostgres
from adapters.settings import DATABASE_URL, Settings, SettingsError


@contextmanager
def with_database(settings: Settings, *, embedded: bool, report: Callable[[str], None] = report) -> Iterator[URL]:
    """Return the database's URL; an embedded one runs until the block ends. `report` gets a line for each step.

    Raises SettingsError when there is none and none may be started, EmbeddedPostgresError when none can be.
    """
    if settings.database_url is not None:
        report(f"using the database of {DATABASE_URL} at {settings.database_url.host or 'a local socket'}")
        yield settings.database_url
    elif embedded:
        with EmbeddedPostgres(settings.state_directory / "postgres", report=report) as server:
            yield make_url(server.url())
    else:
        raise SettingsError([f"{DATABASE_URL}: must be set, or --embedded be given"])
