"""Autovacuum is at a table for hours, and gives way only to who waits for longer than deadlock_timeout."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.patience import MigrationError, Patience
from tests.drills.faults.own_postgres import own_postgres
from tests.migrations.revisions import Revisions
from tests.support.databases import Connection, connected, with_driver
from tests.support.schemas import revisions
from tests.support.waiting import until

ROWS = """
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, 20000) n
"""
SLOWLY = """
    ALTER TABLE users SET (
        autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
        autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
        autovacuum_analyze_threshold = 2000000000
    )
"""
AT_IT = """
    SELECT pid FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE backend_type = 'autovacuum worker' AND relation = 'users'::regclass AND granted
    AND mode = 'ShareUpdateExclusiveLock' AND query LIKE 'autovacuum: VACUUM%'
"""
TIMES = Patience(attempts=3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[URL]:
    """A database of a server on its own: how often autovacuum looks is a setting of all of it."""
    with own_postgres(tmp_path / "server") as postgres:
        yield postgres.url()


@pytest.fixture
def vacuumed(server: URL) -> Iterator[Connection]:
    """A session beside an autovacuum of users that does not end, and begins again soon after it was broken off."""
    with connected(server) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(ROWS)
        connection.execute(SLOWLY)
        connection.execute("UPDATE users SET version = 2")
        yield connection


async def _at_it(connection: Connection) -> int:
    await until(lambda: connection.execute(AT_IT).fetchone() is not None)
    return int(str((connection.execute(AT_IT).fetchone() or [0])[0]))


@pytest.mark.parametrize(
    "upgrade",
    [
        'op.add_column("users", sa.Column("a", sa.Text()))',
        'op.drop_index("ix_t")',
        'op.add_check("ck_t", "users", "version > 0")',
    ],
    ids=["plain", "index", "safe"],
)
async def test_it_gives_way(vacuumed: Connection, server: URL, driver: str, own: Revisions, upgrade: str) -> None:
    vacuumed.execute("CREATE INDEX ix_t ON users (full_name)")
    own.add(upgrade)
    config = own.config(with_driver(server, driver))
    config.attributes["patience"] = TIMES
    await _at_it(vacuumed)
    await asyncio.to_thread(command.upgrade, config, "heads")
    assert revisions(server) == [own.last]


async def test_it_is_named(vacuumed: Connection, server: URL, own: Revisions) -> None:
    own.add('op.add_column("users", sa.Column("a", sa.Text()))')
    config = own.config(server)
    config.attributes["patience"] = Patience(attempts=1)
    pid = await _at_it(vacuumed)
    with connected(server) as other, other.transaction():
        other.execute("LOCK TABLE posts IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError) as raised:
            await asyncio.to_thread(command.upgrade, config, "heads")
    assert f"pid {pid} (autovacuum worker, active for " in str(raised.value)
    assert "posts" not in str(raised.value)
