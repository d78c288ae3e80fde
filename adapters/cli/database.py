"""The database of a command: DATABASE_URL or the embedded one, and the use cases of the service on it."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import URL, make_url
from typer import TyperException

from adapters.cli.console import print_status
from adapters.database_url import hosts_of
from adapters.embedded import EmbeddedPostgres, make_private_directory
from adapters.postgres.pool import Database
from adapters.postgres.schema.readiness import readiness
from adapters.settings import DATABASE_URL, FILE_SUFFIX, Settings, load_settings, require_url
from application.api_key_tokens import PepperSet
from application.ports import TransientStorageError

if TYPE_CHECKING:
    from adapters.container import Container

NO_PEPPERS = PepperSet({})
"""For commands that neither create nor verify API keys."""


@contextmanager
def selected_database(
    settings: Settings | None = None, *, embedded: bool, report: Callable[[str], None] = print_status
) -> Iterator[tuple[Settings, URL]]:
    """Yield the settings and the URL of the database. An embedded one runs until the block ends.

    `report` gets a line for each step. Raises SettingsError for invalid settings or without DATABASE_URL and
    --embedded, and EmbeddedPostgresError if the start fails.
    """
    settings = settings or load_settings()
    if settings.database_url is None and embedded:
        directory = make_private_directory(settings.state_directory)
        with EmbeddedPostgres(directory / "postgres", report=report) as server, server.keep_running():
            yield settings, make_url(server.url())
    else:
        url = require_url(settings.database_url, ". Or pass --embedded to start a local PostgreSQL.")
        report(f"using the database of {DATABASE_URL} at {', '.join(map(str, hosts_of(url)))}")
        yield settings, url


def environment_with(url: URL) -> dict[str, str]:
    """Return the environment with this URL of the database, for a child process."""
    # The empty variable overrides one in `.env`.
    return os.environ | {DATABASE_URL: url.render_as_string(hide_password=False), DATABASE_URL + FILE_SUFFIX: ""}


def service_container(settings: Settings, url: URL, peppers: PepperSet = NO_PEPPERS) -> "Container":
    """Return the object graph of the service. Commands create no cursors."""
    from adapters.container import Container  # loads the web framework, which `migrate` does not need

    return Container(settings=settings.model_copy(update={"database_url": url}), cursor_secret=b"", peppers=peppers)


@asynccontextmanager
async def open_service(
    settings: Settings, url: URL, *, peppers: PepperSet = NO_PEPPERS, skip_readiness_check: bool = False
) -> AsyncIterator["Container"]:
    """Yield the object graph of the service, and close the database when the block ends.

    Raises TyperException if the database is unreachable or older than this release. `skip_readiness_check` skips this
    check.
    """
    container = service_container(settings, url, peppers)
    database = container.database()
    try:
        components = {} if skip_readiness_check else await _readiness(database)
        for name, (ready, detail) in components.items():
            if not ready:
                raise TyperException(f"{name} {detail}")
        yield container
    finally:
        await database.close()


async def check_readiness(settings: Settings, url: URL) -> Mapping[str, tuple[bool, str]]:
    """Return the readiness of each component."""
    async with open_service(settings, url, skip_readiness_check=True) as container:
        return await _readiness(container.database())


async def check_database(settings: Settings, url: URL) -> tuple[Mapping[str, tuple[bool, str]], list[str]]:
    """Return the readiness of each component, and lines about the pending revisions and their locks."""
    from adapters.postgres.schema.pending import pending_revisions  # loads Alembic, which `serve` does not need

    async with open_service(settings, url, skip_readiness_check=True) as container:
        components = await _readiness(container.database())
        try:
            pending = await pending_revisions(container.database())
        except TransientStorageError:
            return components, []  # the readiness contains the cause
        return components, [line for revision in pending for line in revision.lines()]


async def _readiness(database: Database) -> Mapping[str, tuple[bool, str]]:
    """Return the readiness of each component. Unlike the public text, it has the address of the database."""
    components = await readiness(database)
    error = database.connect_error
    return components if error is None else {**components, "database": (False, str(error))}
