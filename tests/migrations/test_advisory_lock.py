"""Tests for the advisory lock of migrations."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from adapters.postgres.schema.state import upgrade
from migrations.runner.advisory_lock import migration_lock
from migrations.runner.alembic_config import alembic_config
from migrations.runner.lock_retry import MigrationError
from tests.migrations.revision_fixtures import EXPAND_HEAD, MANY_RETRIES, Revisions, insert_users
from tests.support.polling import TIMEOUT_SECONDS, wait_until
from tests.support.schema_dump import revisions, schema
from tests.support.template_databases import connected, with_driver

KEY = int.from_bytes(b"hexapost")
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
        other.execute("SELECT pg_advisory_lock(%s)", [KEY])
        migrating = asyncio.create_task(asyncio.to_thread(upgrade, with_driver(empty, driver), reported.append))
        await wait_until(lambda: migrating.done() or reported != [])
        assert reported == [f"another migration is running (pid {other.info.backend_pid}); waiting for its lock"]
        assert (migrating.done(), schema(empty)) == (False, [])
        other.execute("SELECT pg_advisory_unlock(%s)", [KEY])
        await migrating
        assert other.execute("SELECT pg_try_advisory_lock(%s)", [KEY]).fetchone() == (True,)
    assert reported[1] == "applied revision ccc0279a8e0d: create users and posts"
    assert revisions(empty) == [EXPAND_HEAD]


@pytest.mark.parametrize("look", [command.current, command.check])
def test_readonly_alembic_command_does_not_take_the_lock(scratch: URL, look: Callable[[Config], None]) -> None:
    reported: list[str] = []
    with connected(scratch) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [KEY])
        look(alembic_config(url=scratch, report=reported.append))
    assert reported == []


@pytest.mark.parametrize("change", [command.downgrade, command.stamp])
def test_alembic_command_that_changes_waits_for_the_lock(scratch: URL, change: Callable[[Config, str], None]) -> None:
    reported: list[str] = []
    with connected(scratch) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [KEY])

        def unlock(line: str) -> None:
            other.execute("SELECT pg_advisory_unlock(%s)", [KEY])
            reported.append(line)

        change(alembic_config(url=scratch, report=unlock), EXPAND_HEAD)
    assert [line.partition(" (")[0] for line in reported] == ["another migration is running"]


def test_waiting_migration_does_not_block_a_concurrent_index(scratch: URL, driver: str, own: Revisions) -> None:
    engine = create_engine(with_driver(scratch, "psycopg"), poolclass=NullPool)
    is_waiting = threading.Event()

    def wait_for_lock() -> None:
        with migration_lock(engine, lambda _: is_waiting.set()):
            pass

    waiter = threading.Thread(target=wait_for_lock)

    def start_waiter(_: str) -> None:
        if not is_waiting.is_set():
            waiter.start()
            assert is_waiting.wait(TIMEOUT_SECONDS)

    own.add("pass")
    own.add('op.create_index_concurrently("ix_t", "users", ["full_name"])')
    command.upgrade(own.config(with_driver(scratch, driver), report=start_waiter), "heads")
    waiter.join(TIMEOUT_SECONDS)
    assert not waiter.is_alive()
    assert any("ix_t" in line for line in schema(scratch))


async def test_lock_session_is_exempt_from_the_idle_timeout(scratch: URL) -> None:
    engine = create_engine(with_driver(scratch, "psycopg"), poolclass=NullPool)
    with connected(scratch) as admin:
        admin.execute("SET idle_session_timeout = 0")
        admin.execute(f"ALTER DATABASE {scratch.database} SET idle_session_timeout = '1s'".encode())
        with migration_lock(engine, print) as require_lock, connected(scratch) as idle:
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
            await wait_until(lambda: admin.execute(sessions, [idle.info.backend_pid]).fetchone() == (0,))
            require_lock()


async def test_migration_stops_when_its_lock_is_lost(scratch: URL, driver: str, own: Revisions) -> None:
    own.add('op.backfill("users", "version = version + 1", batch=10, pause=0)')
    config = own.config(with_driver(scratch, driver), policy=MANY_RETRIES)
    with connected(scratch) as connection, connected(scratch) as other:
        insert_users(connection, 100)
        with other.transaction():
            other.execute(
                "SELECT FROM users WHERE id = (SELECT id FROM users ORDER BY id OFFSET 50 LIMIT 1) FOR UPDATE"
            )
            migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
            newest = "SELECT max(version) FROM users"
            await wait_until(lambda: migrating.done() or connection.execute(newest).fetchone() == (2,))
            connection.execute(f"SELECT pg_terminate_backend(pid) {LOCKS}".encode())
            await wait_until(lambda: connection.execute(f"SELECT count(*) {LOCKS}".encode()).fetchone() == (0,))
        with pytest.raises(MigrationError, match="The migration lock was lost"):
            await migrating
        assert connection.execute("SELECT count(*) < 100 FROM users WHERE version = 2").fetchone() == (True,)
    await asyncio.to_thread(command.upgrade, config, "heads")
    with connected(scratch) as connection:
        assert connection.execute("SELECT DISTINCT version FROM users").fetchall() == [(2,)]
