"""Tests for migrations that meet autovacuum."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from adapters.testing.template_databases import connected
from migrations.runner.lock_retry import LockRetryPolicy, MigrationError
from tests.drills.faults.disposable_postgres import disposable_postgres
from tests.migrations.revision_fixtures import RevisedDatabase
from tests.support.polling import wait_until

pytestmark = pytest.mark.drill

DATABASE = "vacuumed"
SLOW_AUTOVACUUM = """
    ALTER TABLE users SET (
        autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
        autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
        autovacuum_analyze_threshold = 2000000000
    )
"""
AUTOVACUUM_PID = """
    SELECT pid FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE backend_type = 'autovacuum worker' AND relation = 'users'::regclass AND granted
    AND mode = 'ShareUpdateExclusiveLock' AND query LIKE 'autovacuum: VACUUM%'
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A separate server: the interval of autovacuum is a setting of the whole server."""
    with disposable_postgres(tmp_path_factory.mktemp("autovacuum") / "server") as postgres:
        with connected(postgres.url()) as connection:
            for setting in ("autovacuum_naptime = '1s'", "deadlock_timeout = '100ms'"):
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")
        yield postgres.url()


@pytest.fixture
def scratch(server: URL) -> Iterator[URL]:
    """A copy of the migrated database."""
    with connected(server.set(database="postgres")) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {server.database}".encode())
        yield server.set(database=DATABASE)
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())


async def _start_autovacuum(database: RevisedDatabase) -> object:
    """Start an autovacuum of users that does not end, and restarts after each interruption. Return its process id."""
    database.insert_users(20_000)
    database.execute(SLOW_AUTOVACUUM)
    database.execute("UPDATE users SET version = 2")
    await wait_until(lambda: database.execute(AUTOVACUUM_PID) != [])
    return database.execute(AUTOVACUUM_PID)[0][0]


@pytest.mark.parametrize(
    "upgrade",
    [
        'op.add_column("users", sa.Column("a", sa.Text()))',
        'op.drop_index("ix_t")',
        'op.add_check("c", "users", "true")',
    ],
    ids=["table", "index", "safe operation"],
)
async def test_migration_interrupts_autovacuum(database: RevisedDatabase, upgrade: str) -> None:
    database.execute("CREATE INDEX ix_t ON users (full_name)")
    database.add(upgrade)
    database.policy = LockRetryPolicy(attempts=3)
    await _start_autovacuum(database)
    await asyncio.to_thread(database.upgrade)
    assert database.last in database.applied


async def test_migration_error_names_autovacuum(database: RevisedDatabase) -> None:
    database.add('op.add_column("users", sa.Column("a", sa.Text()))')
    database.policy = LockRetryPolicy(attempts=1)
    pid = await _start_autovacuum(database)
    with connected(database.url) as other, other.transaction():
        other.execute("LOCK TABLE posts IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError) as raised:
            await asyncio.to_thread(database.upgrade)
    assert f"pid {pid} (autovacuum worker, active for " in str(raised.value)
    assert "posts" not in str(raised.value)
