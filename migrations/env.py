"""How Alembic reaches the database: over a connection it is given, over DATABASE_URL, or not at all, to print SQL."""

import asyncio
import functools
import sys
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, bindparam, func, make_url, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from adapters.postgres.drivers import DRIVERS
from adapters.postgres.tables import Base
from adapters.settings import database_url

# One migration at a time: a second one waits for the lock, and then finds nothing left to do.
LOCK = select(func.pg_advisory_lock(bindparam("key", 0x6865_7861_706F_7374)))  # "hexapost"

CONNECT_SECONDS = 10.0


def run(connection: Connection) -> None:
    """Run the migrations over a connection."""
    connection.execute(LOCK)
    connection.commit()
    configure(connection=connection, compare_type=True, compare_server_default=True)


def configure(**options: Any) -> None:
    """Run the migrations as the options say."""
    report = context.config.attributes.get("report", functools.partial(print, file=sys.stderr))

    def say(ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object) -> None:  # noqa: ARG001 - Alembic's
        subject = getattr(step.up_revision, "doc", "")
        report(f"{'applied' if step.is_upgrade else 'undid'} revision {step.up_revision_id}: {subject}")

    context.configure(
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        on_version_apply=say,
        **options,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run() -> None:
    """Run the migrations over a connection of their own."""
    url = make_url(context.config.attributes.get("url") or database_url())
    driver = DRIVERS[url.get_dialect().driver]
    arguments = driver.connect_args(prepared_statements=True, connect_timeout=CONNECT_SECONDS)
    engine = create_async_engine(url, poolclass=NullPool, connect_args=arguments)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    configure(dialect_name="postgresql", literal_binds=True)
elif given := context.config.attributes.get("connection"):
    run(given)
else:
    asyncio.run(connect_and_run())
