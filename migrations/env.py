"""How Alembic reaches the database: over a connection it is given, over DATABASE_URL, or not at all, to print SQL."""

import asyncio
import functools
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import migrations.operations  # noqa: F401 - registers them
from adapters.postgres.drivers import DRIVERS
from adapters.postgres.models import Base
from adapters.settings import database_url
from migrations.revision_generator import process_revision_directives
from migrations.runner.advisory_lock import migration_lock
from migrations.runner.lock_retry import LockRetryPolicy
from migrations.runner.phases import Phase, encode_applied
from migrations.runner.plan import MigrationPlan, apply_plan

CONNECT_SECONDS = 10.0

report = context.config.attributes.get("report", functools.partial(print, file=sys.stderr))
policy = context.config.attributes.get("lock_retry_policy", LockRetryPolicy())
phase = Phase(
    context.config.attributes.get("phase") or context.get_x_argument(as_dictionary=True).get("phase", "expand")
)
release = context.config.attributes.get("release") or version("hexapost")


def run(connection: Connection) -> None:
    """Run the migrations over a connection: alone, but for commands that only look."""
    with (
        migration_lock(connection.engine, report) if is_upgrade_command() else nullcontext(lambda: None) as still_alone
    ):
        plan = configure(still_alone, connection=connection, compare_type=True, compare_server_default=True)
        apply_plan(context, connection, plan, policy)


def is_upgrade_command() -> bool:
    """Tell whether the command may change the database: it then goes to a revision."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def run_offline() -> None:
    """Write the migrations as SQL, with the time limits in which each statement is to be run."""
    # With parameters that are named, which are none here, the dialect leaves a % as it is.
    configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, literal_binds=True)
    for name, milliseconds in policy.limits().items():
        context.execute(f"SET {name} = {milliseconds}")
    with context.begin_transaction():
        context.run_migrations()


def configure(before_each: Callable[[], None] = lambda: None, **options: Any) -> MigrationPlan:
    """Have the migrations of the phase run as the options say, and return what is planned."""

    def applied(ctx: MigrationContext, step: MigrationInfo, heads: set[str], run_args: object) -> None:  # noqa: ARG001 - Alembic's
        ctx.execute(f"COMMENT ON TABLE alembic_version IS '{encode_applied(context.script, heads)}'")
        subject = getattr(step.up_revision, "doc", "")
        report(f"{'applied' if step.is_upgrade else 'undid'} revision {step.up_revision_id}: {subject}")

    options |= {
        "lock_retry_policy": policy,
        "report": report,
        "on_version_apply": applied,
        "transaction_per_migration": True,
    }
    context.configure(target_metadata=Base.metadata, **options)
    plan = MigrationPlan(context.get_context().opts["fn"], phase, release, before_each=before_each)
    context.configure(
        target_metadata=Base.metadata,
        process_revision_directives=process_revision_directives(phase),
        template_args={"phase": phase, "release": release},
        fn=plan.steps,
        **options,
    )
    return plan


async def run_online() -> None:
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
    run_offline()
elif given := context.config.attributes.get("connection"):
    run(given)
else:
    asyncio.run(run_online())
