"""Tests for the advisory lock of migrations."""

import asyncio
import re
import threading
from collections.abc import Callable

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from adapters.postgres.schema.upgrade import upgrade
from adapters.testing.template_databases import connected, with_driver
from migrations.runner.advisory_lock import ADVISORY_LOCK_KEY, migration_lock
from migrations.runner.lock_retry import LockRetryPolicy, MigrationError
from migrations.runner.revisions import Phase
from tests.migrations.revision_fixtures import EXPAND_HEAD, HEADS, MANY_RETRIES, RevisedDatabase
from tests.support.polling import TIMEOUT_SECONDS, wait_until
from tests.support.schema_dump import revisions, schema

LOCK = f"SELECT pg_advisory_lock({ADVISORY_LOCK_KEY})"
UNLOCK = f"SELECT pg_advisory_unlock({ADVISORY_LOCK_KEY})"
ADD = 'op.add_column("users", sa.Column("a", sa.Text()))'
LOCKS = """
    FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE locktype = 'advisory' AND datname = current_database()
"""


@pytest.fixture(autouse=True)
def _short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrations.runner.advisory_lock.POLL_SECONDS", 0.01)


async def test_migration_waits_for_a_running_migration(empty: URL, driver: str) -> None:
    reported: list[str] = []
    with connected(empty) as other:
        other.execute(LOCK.encode())
        migrating = asyncio.create_task(asyncio.to_thread(upgrade, with_driver(empty, driver), reported.append))
        await wait_until(lambda: migrating.done() or reported != [])
        holder = rf"pid {other.info.backend_pid} \(.+, idle, connected for \d+ s\)"
        assert re.fullmatch(rf"another migration is running: {holder}; waiting for its lock", reported[0])
        assert (migrating.done(), schema(empty)) == (False, [])
        other.execute(UNLOCK.encode())
        await migrating
        assert other.execute(f"SELECT count(*) {LOCKS}".encode()).fetchone() == (0,)
    assert reported[1] == "applied revision ccc0279a8e0d: create users and posts"
    assert revisions(empty) == HEADS


@pytest.mark.usefixtures("driver")
def test_migration_gives_up_when_another_migration_hangs(database: RevisedDatabase) -> None:
    database.policy = LockRetryPolicy(max_wait=0)
    database.add(ADD)
    with connected(database.url) as other:
        other.execute(LOCK.encode())
        message = rf"^another migration is running: pid {other.info.backend_pid} \(.*; gave up after 0 s\. Nothing"
        with pytest.raises(MigrationError, match=message):
            database.upgrade()
    assert database.applied == [EXPAND_HEAD]


@pytest.mark.parametrize("read", [command.current, command.check])
def test_readonly_alembic_command_does_not_take_the_lock(
    database: RevisedDatabase, read: Callable[[Config], None]
) -> None:
    database.upgrade(phase=Phase.CONTRACT)
    database.reported.clear()
    database.execute(LOCK)
    read(database.config())
    assert database.reported == []


@pytest.mark.parametrize("change", [command.downgrade, command.stamp])
def test_alembic_command_that_changes_waits_for_the_lock(
    database: RevisedDatabase, change: Callable[[Config, str], None]
) -> None:
    def unlock(line: str) -> None:
        database.execute(UNLOCK)
        database.reported.append(line)

    database.execute(LOCK)
    change(database.config(report=unlock), EXPAND_HEAD)
    assert [line.partition(":")[0] for line in database.reported] == ["another migration is running"]


@pytest.mark.usefixtures("driver")
def test_waiting_migration_does_not_block_a_concurrent_index(database: RevisedDatabase) -> None:
    engine = create_engine(with_driver(database.url, "psycopg"), poolclass=NullPool)
    is_waiting = threading.Event()

    def wait_for_lock() -> None:
        with migration_lock(engine, lambda _: is_waiting.set(), max_wait=TIMEOUT_SECONDS):
            pass

    waiter = threading.Thread(target=wait_for_lock)

    def start_waiter(_: str) -> None:
        if not is_waiting.is_set():
            waiter.start()
            assert is_waiting.wait(TIMEOUT_SECONDS)

    database.add("pass")
    database.add('op.create_index_concurrently("ix_t", "users", ["full_name"])')
    database.upgrade(report=start_waiter)
    waiter.join(TIMEOUT_SECONDS)
    assert not waiter.is_alive()
    assert any("ix_t" in line for line in database.schema)


async def test_lock_session_is_exempt_from_the_idle_timeout(database: RevisedDatabase) -> None:
    engine = create_engine(with_driver(database.url, "psycopg"), poolclass=NullPool)
    database.execute("SET idle_session_timeout = 0")
    database.execute(f"ALTER DATABASE {database.url.database} SET idle_session_timeout = '1s'")
    with migration_lock(engine, print, max_wait=0) as require_lock, connected(database.url) as idle:
        session = "SELECT pid FROM pg_stat_activity WHERE pid = %s"
        await wait_until(lambda: database.execute(session, idle.info.backend_pid) == [])
        require_lock()


@pytest.mark.usefixtures("driver")
async def test_migration_stops_when_its_lock_is_lost(database: RevisedDatabase) -> None:
    database.add('op.backfill("users", "version = version + 1", batch=10, pause=0)')
    database.policy = MANY_RETRIES
    database.insert_users()
    with connected(database.url) as other, other.transaction():
        other.execute("SELECT FROM users WHERE id = (SELECT id FROM users ORDER BY id OFFSET 50 LIMIT 1) FOR UPDATE")
        migrating = asyncio.create_task(asyncio.to_thread(database.upgrade))
        await wait_until(lambda: migrating.done() or database.execute("SELECT max(version) FROM users") == [(2,)])
        database.execute(f"SELECT pg_terminate_backend(pid) {LOCKS}")
        await wait_until(lambda: database.execute(f"SELECT count(*) {LOCKS}") == [(0,)])
    with pytest.raises(MigrationError, match="The migration lock was lost"):
        await migrating
    assert database.execute("SELECT count(*) < 100 FROM users WHERE version = 2") == [(True,)]
    await asyncio.to_thread(database.upgrade)
    assert database.execute("SELECT DISTINCT version FROM users") == [(2,)]
