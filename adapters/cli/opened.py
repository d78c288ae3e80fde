"""The service's use cases for a command, over a database that is fit for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from sqlalchemy import URL

from adapters.cli.errors import NotReadyError
from adapters.container import Container
from adapters.postgres.readiness import readiness
from adapters.settings import Settings
from application.credentials import Peppers

NO_PEPPERS = Peppers({})
"""For what neither makes keys nor looks whether one is right."""


@asynccontextmanager
async def opened(
    settings: Settings, url: URL, *, peppers: Peppers = NO_PEPPERS, is_ready: bool = False
) -> AsyncIterator[Container]:
    """Put the service together over a database, and close that when the block ends.

    Raises NotReadyError when the database cannot be reached, or is behind this release; `is_ready` says that it was
    looked at a moment ago.
    """
    container = Container(
        settings=settings.model_copy(update={"database_url": url}),
        cursor_secret=b"",  # no command makes cursors
        peppers=peppers,
        version=version("hexapost"),
    )
    database = container.database()
    try:
        components = {} if is_ready else await readiness(database)
        for name, (ready, detail) in components.items():
            if not ready:
                raise NotReadyError(f"{name} {detail}")
        yield container
    finally:
        await database.close()
