"""`hexapost check`: checks settings, database and schema before a deployment."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from sqlalchemy import URL

from adapters.cli.console import print_status
from adapters.cli.database_selection import selected_database
from adapters.container import database_options
from adapters.postgres.pool import Database
from adapters.postgres.schema.pending import pending_revisions
from adapters.postgres.schema.readiness import readiness
from adapters.settings import Settings
from application.ports import TransientStorageError


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the readiness of each component; return 0 if all are ready. Invalid settings stop the command earlier."""
    print_status("settings OK")
    with selected_database(settings, embedded=options.embedded) as url:
        components, missing = asyncio.run(inspect_database(url, settings))
    for line in missing:
        print_status(line)
    for name, (ready, detail) in components.items():
        print_status(f"{name}: {detail}{'' if ready else ' (NOT READY)'}")
    return 0 if all(ready for ready, _ in components.values()) else 1


async def check_readiness(url: URL, settings: Settings) -> Mapping[str, tuple[bool, str]]:
    """Return the readiness of the database and its schema."""
    async with _open_pool(url, settings) as database:
        return await readiness(database)


async def inspect_database(url: URL, settings: Settings) -> tuple[Mapping[str, tuple[bool, str]], list[str]]:
    """Return the readiness, and lines about the pending revisions and their locks."""
    async with _open_pool(url, settings) as database:
        components = await readiness(database)
        try:
            return components, [line for revision in await pending_revisions(database) for line in revision.lines()]
        except TransientStorageError:
            return components, []  # the readiness contains the cause


@asynccontextmanager
async def _open_pool(url: URL, settings: Settings) -> AsyncIterator[Database]:
    database = Database(url, database_options(settings))
    try:
        yield database
    finally:
        await database.close()
