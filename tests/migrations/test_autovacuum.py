"""Tests for migrations that meet autovacuum."""

import asyncio
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.runner.lock_retry import LockRetryPolicy, MigrationError
from tests.drills.faults.disposable_postgres import disposable_postgres
from tests.migrations.revision_fixtures import Revisions, insert_users
from tests.support.polling import wait_until
from tests.support.schema_dump import revisions
from tests.support.template_databases import Connection, connected

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
def url(server: URL) -> Iterator[URL]:
    """A copy of the migrated database."""
    with connected(server.set(database="postgres")) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {server.database}".encode())
        yield server.set(database=DATABASE)
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())


@pytest.fixture
def vacuumed(url: URL) -> Iterator[Connection]:
    """A session beside an autovacuum of users that does not end, and restarts after each interruption."""
    with connected(url) as connection:
        insert_users(connection, 20_000)
        connection.execute(SLOW_AUTOVACUUM)
        connection.execute("UPDATE users SET version = 2")
        yield connection


async def _autovacuum_pid(connection: Connection) -> int:
    await wait_until(lambda: connection.execute(AUTOVACUUM_PID).fetchone() is not None)
    return int(str((connection.execute(AUTOVACUUM_PID).fetchone() or [0])[0]))


@pytest.mark.parametrize(
    "upgrade",
    [
        'op.add_column("users", sa.Column("a", sa.Text()))',
        'op.drop_index("ix_t")',
        'op.add_check("ck_t", "users", "version > 0")',
    ],
    ids=["table", "index", "safe operation"],
)
async def test_migration_interrupts_autovacuum(vacuumed: Connection, url: URL, own: Revisions, upgrade: str) -> None:
    vacuumed.execute("CREATE INDEX ix_t ON users (full_name)")
    own.add(upgrade)
    config = own.config(url, policy=LockRetryPolicy(attempts=3))
    await _autovacuum_pid(vacuumed)
    await asyncio.to_thread(command.upgrade, config, "heads")
    assert revisions(url) == [own.last]


async def test_migration_error_names_autovacuum(vacuumed: Connection, url: URL, own: Revisions) -> None:
    own.add('op.add_column("users", sa.Column("a", sa.Text()))')
    config = own.config(url, policy=LockRetryPolicy(attempts=1))
    pid = await _autovacuum_pid(vacuumed)
    with connected(url) as other, other.transaction():
        other.execute("LOCK TABLE posts IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError) as raised:
            await asyncio.to_thread(command.upgrade, config, "heads")
    assert f"pid {pid} (autovacuum worker, active for " in str(raised.value)
    assert "posts" not in str(raised.value)
