"""`hexapost purge`: deletes expired records."""

import argparse
import asyncio

from sqlalchemy import URL

from adapters.cli.databases import with_database
from adapters.cli.opened import opened
from adapters.cli.output import report
from adapters.settings import Settings


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Delete expired records, and print their number."""
    with with_database(settings, embedded=options.embedded) as url:
        purged = asyncio.run(_purge(settings, url))
    report(f"deleted {purged} expired idempotency record{'' if purged == 1 else 's'}")
    return 0


async def _purge(settings: Settings, url: URL) -> int:
    async with opened(settings, url) as container:
        return await container.retention().purge()
