"""`hexapost check` and `hexapost purge`: check the readiness of a database, and delete expired records."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from sqlalchemy import URL

from adapters.cli.console import print_status
from adapters.cli.database import selected_database
from adapters.cli.service_context import open_service
from adapters.container import Container
from adapters.postgres.pool import Database
from adapters.postgres.schema.pending import pending_revisions
from adapters.postgres.schema.readiness import readiness
from adapters.settings import Settings
from application.ports import TransientStorageError


def check(settings: Settings, options: argparse.Namespace) -> int:
    """Print the readiness of each component; return 0 if all are ready. Invalid settings stop the command earlier."""
    print_status("settings OK")
    with selected_database(settings, embedded=options.embedded) as url:
        components, missing = asyncio.run(inspect_database(url, settings))
    for line in missing:
        print_status(line)
    for name, (ready, detail) in components.items():
        print_status(f"{name}: {detail}{'' if ready else ' (NOT READY)'}")
    return 0 if all(ready for ready, _ in components.values()) else 1


def purge(settings: Settings, options: argparse.Namespace) -> int:
    """Delete expired records, and print their number."""
    with selected_database(settings, embedded=options.embedded) as url:
        purged = asyncio.run(_purge_records(settings, url))
    print_status(f"deleted {purged} expired idempotency record{'' if purged == 1 else 's'}")
    return 0


async def _purge_records(settings: Settings, url: URL) -> int:
    async with open_service(settings, url) as container:
        return await container.retention().purge()


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
    database = Database(url, Container(settings=settings).database_options())
    try:
        yield database
    finally:
        await database.close()
