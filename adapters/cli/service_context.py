"""Opens the use cases of the service for a command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import URL

from adapters.cli.database import DatabaseNotReadyError
from adapters.container import Container
from adapters.postgres.schema.readiness import readiness
from adapters.settings import Settings
from application.api_key_tokens import PepperSet

NO_PEPPERS = PepperSet({})
"""For commands that neither create nor verify API keys."""


@asynccontextmanager
async def open_service(
    settings: Settings, url: URL, *, peppers: PepperSet = NO_PEPPERS, skip_readiness_check: bool = False
) -> AsyncIterator[Container]:
    """Create the object graph of the service, and close the database when the block ends.

    Raises DatabaseNotReadyError if the database is unreachable or older than this release. `skip_readiness_check` skips
    this check.
    """
    container = Container(
        settings=settings.model_copy(update={"database_url": url}),
        cursor_secret=b"",  # commands create no cursors
        peppers=peppers,
    )
    database = container.database()
    try:
        components = {} if skip_readiness_check else await readiness(database)
        for name, (ready, detail) in components.items():
            if not ready:
                raise DatabaseNotReadyError(f"{name} {detail}")
        yield container
    finally:
        await database.close()
