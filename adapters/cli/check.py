"""`hexapost check`: what an operator wants to know before a deploy."""

import argparse
import asyncio
from collections.abc import Mapping

from sqlalchemy import URL

from adapters.cli.databases import with_database
from adapters.cli.output import report
from adapters.container import database_options
from adapters.postgres.database import Database
from adapters.postgres.pending import pending
from adapters.postgres.readiness import readiness
from adapters.settings import Settings
from application.ports import TransientError


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Tell what is ready; return 0 when all is. The settings were sound, or this would not run."""
    report("the settings are sound")
    with with_database(settings, embedded=options.embedded) as url:
        components = asyncio.run(look(url, settings))
        for line in asyncio.run(missing(url, settings)):
            report(line)
    for name, (ready, detail) in components.items():
        report(f"{name}: {detail}{'' if ready else ' (NOT READY)'}")
    return 0 if all(ready for ready, _ in components.values()) else 1


async def look(url: URL, settings: Settings) -> Mapping[str, tuple[bool, str]]:
    """Return whether the database and its schema are ready, by name."""
    database = Database(url, database_options(settings))
    try:
        return await readiness(database)
    finally:
        await database.close()


async def missing(url: URL, settings: Settings) -> list[str]:
    """Return, in lines, which revisions are pending and what they would lock; none when that cannot be told."""
    database = Database(url, database_options(settings))
    try:
        return [line for revision in await pending(database) for line in revision.lines()]
    except TransientError:
        return []  # that it is not reachable is said elsewhere
    finally:
        await database.close()
