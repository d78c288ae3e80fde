"""How Alembic reaches the database: over a connection it is given, over DATABASE_URL, or not at all, to print SQL."""

import asyncio
import functools
import sys
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import migrations.operations  # noqa: F401 - registers them
from adapters.postgres.drivers import DRIVERS
from adapters.postgres.tables import Base
from adapters.settings import database_url
from migrations.lock import one_at_a_time
from migrations.patience import Patience
from migrations.running import Plan, apply

CONNECT_SECONDS = 10.0

report = context.config.attributes.get("report", functools.partial(print, file=sys.stderr))
patience = context.config.attributes.get("patience", Patience())


def run(connection: Connection) -> None:
    """Run the migrations over a connection."""
    with one_at_a_time(connection.engine, report) as still_alone:
        options = {"connection": connection, "compare_type": True, "compare_server_default": True}
        configure(**options)
        plan = Plan(context.get_context().opts["fn"], before_each=still_alone)
        configure(**options, fn=plan.steps)
        apply(context, connection, plan, patience)


def configure(**options: Any) -> None:
    """Have the migrations run as the options say."""

    def say(ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object) -> None:  # noqa: ARG001 - Alembic's
        subject = getattr(step.up_revision, "doc", "")
        report(f"{'applied' if step.is_upgrade else 'undid'} revision {step.up_revision_id}: {subject}")

    context.configure(
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        on_version_apply=say,
        patience=patience,
        report=report,
        **options,
    )


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
    with context.begin_transaction():
        context.run_migrations()
elif given := context.config.attributes.get("connection"):
    run(given)
else:
    asyncio.run(connect_and_run())
