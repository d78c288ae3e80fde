"""Tests that commands end at the first signal, also while the server is silent."""

import asyncio
import signal
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import URL

from adapters.testing.template_databases import connected, with_driver
from migrations.runner.advisory_lock import ADVISORY_LOCK_KEY
from tests.cli.support import PATIENCE, environment, rendered
from tests.migrations.revision_fixtures import USERS, Revisions
from tests.support.database_fixture import WAITING
from tests.support.freezing_proxy import proxied
from tests.support.polling import wait_until

PROGRAM = """
import functools, pathlib, sys
from adapters.cli.main import main
from adapters.postgres.schema import upgrade
from tests.migrations.revision_fixtures import MANY_RETRIES, Revisions

revisions = Revisions(pathlib.Path(sys.argv[1]))
upgrade.alembic_config = functools.partial(revisions.config, lock_retry_policy=MANY_RETRIES)
sys.exit(main(sys.argv[2:]))
"""
LONG_LIMITS = {
    f"HEXAPOST_DB_{name}_SECONDS": "60"
    for name in ("CONNECT_TIMEOUT", "ATTEMPT_TIMEOUT", "STATEMENT_TIMEOUT", "RETRY_DEADLINE")
}
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
UPDATED = "SELECT count(*) FROM users WHERE version > 1"
POLLING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE query LIKE '%pg_try_advisory%' AND datname = current_database() AND pid <> pg_backend_pid()
"""
MIGRATE = ["migrate", "--allow-unsafe"]
MIGRATION_LOCK = f"SELECT pg_advisory_lock({ADVISORY_LOCK_KEY})"
TABLE_LOCK = "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"
SLEEP = 'op.execute("SELECT pg_sleep(60)")'
BACKFILL = 'op.backfill("users", "version = version + 1", batch=1)'
PHASES = {
    "waiting for another migration": (MIGRATE, "pass", MIGRATION_LOCK, POLLING),
    "waiting for a lock": (MIGRATE, "pass", TABLE_LOCK.format("alembic_version"), WAITING),
    "running a statement": (MIGRATE, SLEEP, "SELECT 1", SLEEPING),
    "backfilling": (MIGRATE, BACKFILL, "SELECT 1", UPDATED),
    "purging": (["purge"], "", TABLE_LOCK.format("idempotency_records"), WAITING),
}
"""The command, a revision, the statement of another session, and the query that counts sessions in the phase."""


async def _require_end(
    own: Revisions, command: list[str], url: URL, number: signal.Signals, is_reached: Callable[[], bool]
) -> None:
    """Start a command, send a signal in the phase, and require the end of the command with one line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(own.directory), *command),
        cwd=own.directory.parent,
        env=environment(DATABASE_URL=rendered(url), **LONG_LIMITS),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await wait_until(is_reached)
        process.send_signal(number)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    line = f"hexapost: {command[0]} was stopped by {number.name}\n"
    assert (process.returncode, errors) == (128 + number, line.encode())


@pytest.mark.parametrize(
    ("command", "number"), [(MIGRATE, signal.SIGTERM), (MIGRATE, signal.SIGINT), (["purge"], signal.SIGTERM)]
)
async def test_command_ends_at_first_signal_while_connecting(
    own: Revisions, scratch: URL, driver: str, command: list[str], number: signal.Signals
) -> None:
    async with proxied(with_driver(scratch, driver)) as (url, proxy):
        proxy.freeze()
        await _require_end(own, command, url, number, lambda: proxy.connections > 0)


@pytest.mark.parametrize("phase", PHASES)
async def test_command_ends_at_first_signal_when_server_is_silent(
    own: Revisions, scratch: URL, driver: str, phase: str
) -> None:
    command, revision, statement, reached = PHASES[phase]
    if revision:
        own.add(revision)
    async with proxied(with_driver(scratch, driver)) as (url, proxy):
        with connected(scratch) as watcher, connected(scratch) as other:

            def is_reached() -> bool:
                if watcher.execute(reached.encode()).fetchone() == (0,):
                    return False
                proxy.freeze()
                return True

            watcher.execute(USERS, [1000])
            other.execute(f"BEGIN; {statement}".encode())
            await _require_end(own, command, url, signal.SIGTERM, is_reached)
