"""Alembic's entry point. Runs migrations on a given connection or on DATABASE_URL, or writes them as SQL."""

import asyncio
import functools
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from adapters.database_url import parse_database_url
from adapters.postgres.connector import Connector
from adapters.postgres.models import Base
from adapters.postgres.schema.state import SERVER, server_support
from adapters.settings import database_url
from migrations.lint.linter import require_safe
from migrations.operations.autogenerate import PLUGIN, process_revision_directives
from migrations.operations.checkpoints import delete_checkpoints
from migrations.runner.advisory_lock import migration_lock
from migrations.runner.lock_retry import LockRetryPolicy, MigrationError
from migrations.runner.phases import encode_applied
from migrations.runner.plan import MigrationPlan, apply_plan
from migrations.runner.revisions import Phase

CONNECT_SECONDS = 10.0

attributes = context.config.attributes
report = attributes.get("report", functools.partial(print, file=sys.stderr))
policy = attributes.get("lock_retry_policy", LockRetryPolicy())
given_phase = attributes.get("phase") or context.get_x_argument(as_dictionary=True).get("phase")
phase = Phase(given_phase) if given_phase else None
release = attributes.get("release") or version("hexapost")


def run(connection: Connection) -> None:
    """Run the migrations on a connection, with the migration lock if the command can change the schema."""
    require_supported_server(connection)
    lock = migration_lock(connection.engine, report, max_wait=policy.max_wait)
    with lock if is_upgrade_command() else nullcontext(lambda: None) as require_lock:
        plan = configure(require_lock, connection=connection, compare_type=True, compare_server_default=True)
        apply_plan(context, connection, plan, policy, require_safe if attributes.get("lint") else None)


def require_supported_server(connection: Connection) -> None:
    """Raise MigrationError for an old server or another encoding than UTF8. Report an untested version."""
    with nullcontext() if connection.in_transaction() else connection.begin():
        is_supported, warning = server_support(*connection.execute(SERVER).one())
    if not is_supported:
        raise MigrationError(warning)
    if warning:
        report(warning)


def is_upgrade_command() -> bool:
    """Return True if the command has a target revision."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def run_offline() -> None:
    """Write the migrations as SQL, with their time limits."""
    # The paramstyle "named" keeps the dialect from doubling each %.
    configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, literal_binds=True)
    for name, milliseconds in policy.limits().items():
        context.execute(f"SET {name} = {milliseconds}")
    with context.begin_transaction():
        context.run_migrations()


def configure(require_lock: Callable[[], None] = lambda: None, **options: Any) -> MigrationPlan:
    """Configure Alembic to run the revisions of the phase, and return the plan."""

    def on_version_apply(ctx: MigrationContext, step: MigrationInfo, heads: set[str], run_args: object) -> None:  # noqa: ARG001 - Alembic's
        delete_checkpoints(ctx)
        ctx.execute(f"COMMENT ON TABLE alembic_version IS '{encode_applied(context.script, heads)}'")
        subject = getattr(step.up_revision, "doc", "")
        report(f"{'applied' if step.is_upgrade else 'undid'} revision {step.up_revision_id}: {subject}")

    options |= {
        "target_metadata": Base.metadata,
        "autogenerate_plugins": ["alembic.autogenerate.*", PLUGIN.name],
        "lock_retry_policy": policy,
        "report": report,
        "on_version_apply": on_version_apply,
        "process_revision_directives": process_revision_directives,
        "template_args": {"phase": phase or Phase.EXPAND, "release": release},
        "transaction_per_migration": True,
    }
    context.configure(**options)
    plan = MigrationPlan(context.get_context().opts["fn"], phase, release, require_lock=require_lock)
    context.configure(fn=plan.steps, **options)
    return plan


async def run_online() -> None:
    """Run the migrations on a new connection."""
    url = parse_database_url(attributes.get("url") or database_url())
    connector = Connector(url, connect_timeout=CONNECT_SECONDS)
    name = f"postgresql+{connector.driver.name}://"
    engine = create_async_engine(name, poolclass=NullPool, async_creator=connector.connect)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    run_offline()
elif given := attributes.get("connection"):
    run(given)
else:
    asyncio.run(run_online())
