"""`hexapost purge`: deletes expired records."""

import argparse
import asyncio

from sqlalchemy import URL

from adapters.cli.console import print_status
from adapters.cli.database_selection import selected_database
from adapters.cli.service_context import open_service
from adapters.settings import Settings


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Delete expired records, and print their number."""
    with selected_database(settings, embedded=options.embedded) as url:
        purged = asyncio.run(_purge(settings, url))
    print_status(f"deleted {purged} expired idempotency record{'' if purged == 1 else 's'}")
    return 0


async def _purge(settings: Settings, url: URL) -> int:
    async with open_service(settings, url) as container:
        return await container.retention().purge()
