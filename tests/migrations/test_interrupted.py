"""What is left when a migration meets a lock or an error, and what a repetition makes of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.operations import Operations
from sqlalchemy import URL

from migrations.patience import MigrationError, Patience
from tests.migrations.revisions import EXPAND_HEAD, Revisions
from tests.support.databases import Connection, connected, with_driver
from tests.support.schemas import revisions, schema
from tests.support.stores import WAITING
from tests.support.waiting import until

ROWS = """
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, {}) n
"""
ADD = 'op.add_column("users", sa.Column("a", sa.Text()))'


@contextmanager
def _locked(url: URL, mode: str = "ACCESS SHARE", table: str = "users") -> Iterator[Connection]:
    with connected(url) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        yield connection


def _fill(url: URL, rows: int) -> None:
    with connected(url) as connection:
        connection.execute(ROWS.format(rows).encode())


@pytest.mark.parametrize("upgrade", [ADD, 'op.add_check("ck_t", "users", "version > 0")'], ids=["plain", "safe"])
async def test_a_lock_that_lets_go_is_waited_for(scratch: URL, driver: str, own: Revisions, upgrade: str) -> None:
    own.add(upgrade)
    config = own.config(with_driver(scratch, driver))
    config.attributes["patience"] = Patience(attempts=1000, lock_timeout=0.02, longest_pause=0.02)
    with _locked(scratch), connected(scratch) as looking:
        migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
        await _queued(looking, migrating)
        await _queued(looking, migrating, again=True)
        assert not migrating.done()
    await migrating
    assert revisions(scratch) == [own.last]


async def _queued(looking: Connection, migrating: asyncio.Task[Any], *, again: bool = False) -> None:
    """Wait until the migration stands in the queue, or does so no longer."""
    if again:
        await until(lambda: migrating.done() or looking.execute(WAITING).fetchone() == (0,))
    await until(lambda: migrating.done() or looking.execute(WAITING).fetchone() != (0,))


@pytest.mark.parametrize("upgrade", [ADD, 'op.add_check("ck_t", "users", "version > 0")'], ids=["plain", "safe"])
def test_a_lock_that_does_not_let_go_is_named(scratch: URL, driver: str, own: Revisions, upgrade: str) -> None:
    own.add('op.create_table("first", sa.Column("id", sa.Uuid()))', revision="one")
    own.add(f'op.create_table("second", sa.Column("id", sa.Uuid()), if_not_exists=True)\n{ADD}\n', revision="two")
    own.add(upgrade.replace('"a"', '"b"'), revision="three")
    before = schema(scratch)
    with _locked(scratch) as blocker, pytest.raises(MigrationError) as raised:
        pid = blocker.info.backend_pid
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
    assert "no lock within 3 attempts of 100 ms" in str(raised.value)
    assert f"pid {pid} (" in str(raised.value)
    assert "holds AccessShareLock on users" in str(raised.value)
    assert "nothing of it is done" in str(raised.value)
    assert revisions(scratch) == ["one"]
    assert {line for line in schema(scratch) if line not in before} == {"column first.id uuid YES default "}


def test_a_step_that_was_done_is_said(scratch: URL, own: Revisions) -> None:
    _fill(scratch, 10)
    own.add('op.add_unique("uq_t", "users", ["email"])')
    with (
        _locked(scratch),
        pytest.raises(
            MigrationError,
            match="done is what came before it in the revision and the first 1 of its steps, which a repetition finds",
        ),
    ):
        command.upgrade(own.config(scratch), "heads")
    assert revisions(scratch) == [EXPAND_HEAD]
    command.upgrade(own.config(scratch), "heads")
    assert revisions(scratch) == [own.last]


@pytest.mark.parametrize(
    "first", ['op.add_check("ck_t", "users", "version > 0")', 'op.backfill("users", "version = 2")']
)
def test_what_was_done_before_a_lock_is_said(scratch: URL, driver: str, own: Revisions, first: str) -> None:
    own.add(f'{first}\nop.add_column("posts", sa.Column("a", sa.Text()))')
    config = own.config(with_driver(scratch, driver))
    with (
        _locked(scratch, table="posts"),
        pytest.raises(MigrationError, match="done is what its safe operations did, which a repetition finds"),
    ):
        command.upgrade(config, "heads")
    command.upgrade(config, "heads")
    assert revisions(scratch) == [own.last]


def test_what_takes_too_long_under_a_lock_is_stopped(scratch: URL, driver: str, own: Revisions) -> None:
    own.add(f'{ADD}\nop.execute("SELECT pg_sleep(60)")')
    config = own.config(with_driver(scratch, driver))
    config.attributes["patience"] = Patience(statement_timeout=0.3)
    before = schema(scratch)
    with pytest.raises(MigrationError, match=r"stopped after 0\.3 s"):
        command.upgrade(config, "heads")
    assert schema(scratch) == before


INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


@pytest.mark.parametrize(
    "upgrade",
    [
        'op.create_index_concurrently("ix_t", "users", ["email"], unique=True)',
        'op.add_unique("ix_t", "users", ["email"])',
    ],
)
def test_an_invalid_leftover_is_dropped_first(scratch: URL, driver: str, own: Revisions, upgrade: str) -> None:
    own.add(upgrade)
    config = own.config(with_driver(scratch, driver))
    with connected(scratch) as connection:
        connection.execute(ROWS.format(10).encode())
        connection.execute("UPDATE users SET email = 'same@x.org'")
        with pytest.raises(Exception, match="could not create unique index"):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_t ON users (email)")
        assert connection.execute(INVALID).fetchone() == (1,)
        with pytest.raises(Exception, match="could not create unique index"):
            command.upgrade(config, "heads")
        assert connection.execute(INVALID).fetchone() == (0,)  # nothing that refuses rows is left
        with pytest.raises(Exception, match="could not create unique index"):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_t ON users (email)")
        connection.execute("UPDATE users SET email = id::text")
        command.upgrade(config, "heads")
        assert connection.execute(INVALID).fetchone() == (0,)
    assert any("ix_t" in line for line in schema(scratch))


async def test_an_index_whose_build_was_cancelled(scratch: URL, driver: str, own: Revisions) -> None:
    _fill(scratch, 10)
    own.add('op.create_index_concurrently("ix_t", "users", ["email"])')
    said: list[str] = []
    config = own.config(with_driver(scratch, driver), report=said.append)
    config.attributes["patience"] = Patience(weak_lock_timeout=3)
    with _locked(scratch, "ROW EXCLUSIVE"), connected(scratch) as looking:
        migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
        waiting = """
            SELECT pg_cancel_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'virtualxid'
        """
        await until(lambda: migrating.done() or looking.execute(waiting).fetchone() is not None)
        with pytest.raises(MigrationError, match=r"creating index ix_t: somebody has cancelled it; done is what came"):
            await migrating
        assert said == ["index ix_t is left INVALID, since others are at the table: a repetition drops it"]
    await asyncio.to_thread(command.upgrade, config, "heads")
    with connected(scratch) as connection:
        assert connection.execute(INVALID).fetchone() == (0,)


def test_an_index_whose_build_met_a_deadlock(
    scratch: URL, driver: str, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(scratch, 10)
    own.add('op.create_index_concurrently("ix_t", "users", ["email"])')
    failures = iter(["CREATE UNIQUE INDEX CONCURRENTLY ix_t ON users (is_active)"])

    def execute(operations: Operations, statement: Any) -> None:
        """Run it; the first index is left INVALID, and the error is what the server says of a deadlock."""
        if "CREATE INDEX" in str(statement) and (failure := next(failures, None)):
            with connected(scratch) as connection, suppress(psycopg.errors.UniqueViolation):
                connection.execute(failure.encode())
            statement = "DO $$ BEGIN RAISE deadlock_detected; END $$"
        execute_it(operations, statement)

    execute_it = Operations.execute
    monkeypatch.setattr(Operations, "execute", execute)
    command.upgrade(own.config(with_driver(scratch, driver)), "heads")
    with connected(scratch) as connection:
        assert connection.execute(
            "SELECT indisunique, indisvalid FROM pg_index WHERE indexrelid = 'ix_t'::regclass"
        ).fetchone() == (False, True)


def test_rows_that_break_a_constraint(scratch: URL, driver: str, own: Revisions) -> None:
    _fill(scratch, 10)
    own.add('op.add_not_null("users", "full_name")')
    config = own.config(with_driver(scratch, driver))
    with pytest.raises(Exception, match=r"contains null values|is violated"):
        command.upgrade(config, "heads")
    with connected(scratch) as connection:
        connection.execute("UPDATE users SET full_name = 'x'")
    command.upgrade(config, "heads")
    assert "column users.full_name text NO default " in schema(scratch)


def test_a_server_before_18(scratch: URL, own: Revisions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrations.operations.steps.Steps.server_version", 170000)
    own.add('op.add_not_null("users", "full_name")', 'op.remove_not_null("users", "full_name")')
    before = schema(scratch)
    command.upgrade(own.config(scratch), "heads")
    command.upgrade(own.config(scratch), "heads")
    changed = {line for line in schema(scratch) if line not in before}
    assert changed == {
        "column users.full_name text NO default ",
        "constraint users_full_name_not_null NOT NULL full_name",
    }
    command.downgrade(own.config(scratch), "-1")
    assert schema(scratch) == before
