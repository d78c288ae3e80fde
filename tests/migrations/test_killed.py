"""What is left when the process of a migration is killed, or is not the only one."""

import asyncio
import hashlib
import sys

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.lock import KEY
from migrations.operations.places import _MAKE
from migrations.patience import MigrationError, Patience
from tests.migrations.revisions import Revisions
from tests.support.databases import Connection, connected, with_driver
from tests.support.schemas import revisions
from tests.support.stores import WAITING
from tests.support.waiting import until

ROWS = """
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, {}) n
"""
HOLD = "SELECT FROM users WHERE id = (SELECT id FROM users ORDER BY id OFFSET {} LIMIT 1) FOR UPDATE"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
LOCKS = """
    FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE locktype = 'advisory' AND datname = current_database()
"""
CHILD = """
import sys
from alembic import command
from sqlalchemy import make_url
from pathlib import Path
from tests.migrations.revisions import Revisions
from migrations.patience import Patience
config = Revisions(Path(sys.argv[1])).config(make_url(sys.argv[2]), report=print)
config.attributes["patience"] = Patience(attempts=1000)
command.upgrade(config, "heads")
"""


def _fill(url: URL, rows: int) -> None:
    with connected(url) as connection:
        connection.execute(ROWS.format(rows).encode())


async def test_a_backfill_that_is_killed_goes_on(scratch: URL, driver: str, own: Revisions) -> None:
    _fill(scratch, 2000)
    own.add('op.backfill("users", "version = version + 1", batch=100, pause=0)')
    done = "SELECT count(*) FROM users WHERE version = 2"
    with connected(scratch) as connection, connected(scratch) as other:
        with other.transaction():
            other.execute(HOLD.format(1900).encode())  # so that it does not come to its end
            child = await _child(own, scratch, driver)
            await until(lambda: child.returncode is not None or _number(connection, done) >= 300)
            child.kill()
            await child.communicate()
        assert 300 <= _number(connection, done) < 2000
        reported: list[str] = []
        await asyncio.to_thread(
            command.upgrade, own.config(with_driver(scratch, driver), report=reported.append), "heads"
        )
        assert any("goes on after" in line for line in reported)
        assert connection.execute("SELECT version, count(*) FROM users GROUP BY 1").fetchall() == [(2, 2000)]
        assert connection.execute("SELECT to_regclass('alembic_backfills')").fetchone() == (None,)


def _number(connection: Connection, question: str) -> int:
    (number,) = connection.execute(question.encode()).fetchone() or (0,)
    return int(str(number))


async def test_a_backfill_goes_around_rows_that_others_hold(scratch: URL, driver: str, own: Revisions) -> None:
    _fill(scratch, 50)
    own.add('op.backfill("users", "version = 2", where="version = 1", batch=10, pause=0)')
    config = own.config(with_driver(scratch, driver))
    config.attributes["patience"] = Patience(attempts=1000, lock_timeout=0.02, longest_pause=0.02)
    with connected(scratch) as other, connected(scratch) as looking:
        with other.transaction():
            # The whole first batch no longer matches when it is let go.
            other.execute("UPDATE users SET version = 3 WHERE id IN (SELECT id FROM users ORDER BY id LIMIT 10)")
            migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
            await until(lambda: looking.execute(WAITING).fetchone() != (0,))
        await migrating
        assert looking.execute("SELECT version, count(*) FROM users GROUP BY 1 ORDER BY 1").fetchall() == [
            (2, 40),
            (3, 10),
        ]


async def test_a_backfill_after_the_last_batch_of_a_killed_one(scratch: URL, driver: str, own: Revisions) -> None:
    _fill(scratch, 50)
    own.add('op.backfill("users", "version = version + 1", batch=10, pause=0)')
    config = own.config(with_driver(scratch, driver))
    config.attributes["patience"] = Patience(attempts=1000, lock_timeout=0.02, longest_pause=0.02)
    with connected(scratch) as other, connected(scratch) as looking:
        other.execute(_MAKE.encode())
        digest = hashlib.sha256(b"UPDATE users SET version = version + 1 WHERE TRUE").hexdigest()
        other.execute("INSERT INTO alembic_backfills VALUES (%s, true, 1, %s)", [own.last, digest])
        with other.transaction():  # its process is gone, its session is not yet
            other.execute("UPDATE users SET version = 2 WHERE id IN (SELECT id FROM users ORDER BY id LIMIT 10)")
            other.execute(
                "UPDATE alembic_backfills SET done = 10,"
                " last = ARRAY(SELECT id FROM users ORDER BY id OFFSET 9 LIMIT 1)"
            )
            migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
            await until(lambda: looking.execute(WAITING).fetchone() != (0,))
        await migrating
        assert looking.execute("SELECT version, count(*) FROM users GROUP BY 1").fetchall() == [(2, 50)]


async def test_two_migrators_and_an_index_concurrently(scratch: URL, driver: str, own: Revisions) -> None:
    _fill(scratch, 1000)
    own.add('op.create_index_concurrently("ix_t", "users", ["full_name"])')
    own.add('op.backfill("users", "version = version + 1", batch=200, pause=0)')
    with connected(scratch) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [KEY])  # until both are there
        children = [await _child(own, scratch, driver) for _ in range(2)]
        first = [await _line(child) for child in children]
        connection.execute("SELECT pg_advisory_unlock(%s)", [KEY])
        said = [(await child.communicate())[0].decode() for child in children]
        assert connection.execute("SELECT DISTINCT version FROM users").fetchall() == [(2,)]
        assert connection.execute(INVALID).fetchone() == (0,)
    assert all("another migration is under way" in line for line in first)
    assert sum(text.count("applied revision") for text in said) == 2
    assert [child.returncode for child in children] == [0, 0]


def test_the_lock_outlives_the_time_that_a_session_may_idle(scratch: URL, driver: str, own: Revisions) -> None:
    _fill(scratch, 1)
    own.add('op.backfill("users", "full_name = concat(1, pg_sleep(4))")')
    own.add('op.create_index_concurrently("ix_t", "users", ["full_name"])')
    with connected(scratch) as connection:
        connection.execute(f"ALTER DATABASE {scratch.database} SET idle_session_timeout = '3s'".encode())
    command.upgrade(own.config(with_driver(scratch, driver)), "heads")
    assert revisions(scratch) == [own.last]


async def test_a_migration_that_lost_its_lock_stops(scratch: URL, driver: str, own: Revisions) -> None:
    _fill(scratch, 1000)
    own.add('op.backfill("users", "version = version + 1", batch=10, pause=0)')
    config = own.config(with_driver(scratch, driver))
    config.attributes["patience"] = Patience(attempts=1000, lock_timeout=0.02, longest_pause=0.02)
    with connected(scratch) as connection, connected(scratch) as other:
        with other.transaction():
            other.execute(HOLD.format(500).encode())  # so that it does not come to its end before it
            migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
            await until(lambda: migrating.done() or _number(connection, "SELECT max(version) FROM users") == 2)
            connection.execute(f"SELECT pg_terminate_backend(pid) {LOCKS}".encode())
            await until(lambda: _number(connection, f"SELECT count(*) {LOCKS}") == 0)
        with pytest.raises(MigrationError, match="the migration lock was lost"):
            await migrating
        assert _number(connection, "SELECT count(*) FROM users WHERE version = 2") < 1000
    await asyncio.to_thread(command.upgrade, config, "heads")
    with connected(scratch) as connection:
        assert connection.execute("SELECT DISTINCT version FROM users").fetchall() == [(2,)]


async def _child(own: Revisions, url: URL, driver: str) -> asyncio.subprocess.Process:
    """Start a process that migrates."""
    words = (CHILD, str(own.directory), with_driver(url, driver).render_as_string(hide_password=False))
    return await asyncio.create_subprocess_exec(sys.executable, "-uc", *words, stdout=asyncio.subprocess.PIPE)


async def _line(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    return (await child.stdout.readline()).decode()
