"""Tests for migrations that meet a lock or an error, and for their repetition."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.operations import Operations
from sqlalchemy import URL

from migrations.runner.lock_retry import LockRetryPolicy, MigrationError
from tests.migrations.revision_fixtures import EXPAND_HEAD, MANY_RETRIES, Revisions
from tests.support.database_fixture import WAITING
from tests.support.polling import wait_until
from tests.support.schema_dump import revisions, schema
from tests.support.template_databases import Connection, connected, with_driver

ADD = 'op.add_column("users", sa.Column("a", sa.Text()))'
CHECK = 'op.add_check("ck_t", "users", "version > 0")'
either = pytest.mark.parametrize("upgrade", [ADD, CHECK], ids=["plain", "safe operation"])


@contextmanager
def _locked(url: URL, mode: str = "ACCESS SHARE", table: str = "users") -> Iterator[Connection]:
    with connected(url) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        yield connection


@either
async def test_migration_retries_until_the_lock_is_free(
    scratch: URL, driver: str, own: Revisions, upgrade: str
) -> None:
    own.add(upgrade)
    config = own.config(with_driver(scratch, driver), policy=MANY_RETRIES)
    with _locked(scratch), connected(scratch) as admin:
        migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
        for expected in (True, False, True):
            await wait_until(lambda: migrating.done() or (admin.execute(WAITING).fetchone() != (0,)) == expected)  # noqa: B023
        assert not migrating.done()
    await migrating
    assert revisions(scratch) == [own.last]


@either
def test_migration_error_names_the_lock_holder(scratch: URL, driver: str, own: Revisions, upgrade: str) -> None:
    own.add('op.create_table("first", sa.Column("id", sa.Uuid()))', revision="one")
    own.add(f'op.create_table("second", sa.Column("id", sa.Uuid()), if_not_exists=True)\n{ADD}\n', revision="two")
    own.add(upgrade.replace('"a"', '"b"'), revision="three")
    before = schema(scratch)
    with _locked(scratch) as blocker, pytest.raises(MigrationError) as raised:
        pid = blocker.info.backend_pid
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
    assert "no lock after 3 attempts of 50 ms" in str(raised.value)
    assert f"pid {pid} (" in str(raised.value)
    assert "holds AccessShareLock on users" in str(raised.value)
    assert "nothing was changed" in str(raised.value)
    assert revisions(scratch) == ["one"]
    assert {line for line in schema(scratch) if line not in before} == {"column first.id uuid YES default "}


@pytest.mark.parametrize(
    ("upgrade", "table", "message"),
    [
        (
            'op.add_unique("uq_t", "users", ["email"])',
            "users",
            "the statements before it and 1 of its steps are kept",
        ),
        (
            f'{CHECK}\nop.add_column("posts", sa.Column("a", sa.Text()))',
            "posts",
            "its completed safe operations are kept",
        ),
        (
            'op.backfill("users", "version = 2")\nop.add_column("posts", sa.Column("a", sa.Text()))',
            "posts",
            "its completed safe operations are kept",
        ),
    ],
    ids=["step", "safe operation", "backfill"],
)
@pytest.mark.usefixtures("users")
def test_migration_error_names_the_completed_steps(
    scratch: URL, own: Revisions, upgrade: str, table: str, message: str
) -> None:
    own.add(upgrade)
    with _locked(scratch, table=table), pytest.raises(MigrationError, match=message):
        command.upgrade(own.config(scratch), "heads")
    assert revisions(scratch) == [EXPAND_HEAD]
    command.upgrade(own.config(scratch), "heads")
    assert revisions(scratch) == [own.last]


def test_statement_timeout_under_a_lock_stops_the_migration(scratch: URL, driver: str, own: Revisions) -> None:
    own.add(f'{ADD}\nop.execute("SELECT pg_sleep(60)")')
    config = own.config(with_driver(scratch, driver), policy=LockRetryPolicy(statement_timeout=0.3))
    before = schema(scratch)
    with pytest.raises(MigrationError, match=r"stopped after the statement_timeout of 0\.3 s"):
        command.upgrade(config, "heads")
    assert schema(scratch) == before


INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


@pytest.mark.parametrize(
    "upgrade",
    [
        'op.create_index_concurrently("ix_t", "users", ["email"], unique=True)',
        'op.add_unique("ix_t", "users", ["email"])',
    ],
    ids=["index", "constraint"],
)
def test_safe_operation_replaces_an_invalid_index(
    scratch: URL, driver: str, users: Connection, own: Revisions, upgrade: str
) -> None:
    own.add(upgrade)
    config = own.config(with_driver(scratch, driver))
    users.execute("UPDATE users SET email = 'same@x.org'")
    for attempt, invalid in (
        (lambda: users.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_t ON users (email)"), 1),
        (lambda: command.upgrade(config, "heads"), 0),
        (lambda: users.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_t ON users (email)"), 1),
    ):
        with pytest.raises(Exception, match="could not create unique index"):
            attempt()
        assert users.execute(INVALID).fetchone() == (invalid,)
    users.execute("UPDATE users SET email = id::text")
    command.upgrade(config, "heads")
    assert users.execute(INVALID).fetchone() == (0,)
    assert any("ix_t" in line for line in schema(scratch))


async def test_cancelled_index_build_is_reported_and_repeated(
    scratch: URL, driver: str, users: Connection, own: Revisions
) -> None:
    own.add('op.create_index_concurrently("ix_t", "users", ["email"])')
    reported: list[str] = []
    policy = LockRetryPolicy(weak_lock_timeout=0.2)
    config = own.config(with_driver(scratch, driver), policy=policy, report=reported.append)
    cancel = """
        SELECT pg_cancel_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'virtualxid'
    """
    with _locked(scratch, "ROW EXCLUSIVE"):
        migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
        await wait_until(lambda: migrating.done() or users.execute(cancel).fetchone() is not None)
        with pytest.raises(
            MigrationError, match=r"creating index ix_t: cancelled by another session; the statements before it"
        ):
            await migrating
        assert [line.partition(" and ")[0] for line in reported] == ["index ix_t is INVALID"]
    await asyncio.to_thread(command.upgrade, config, "heads")
    assert users.execute(INVALID).fetchone() == (0,)


@pytest.mark.usefixtures("users")
def test_deadlocked_index_build_is_repeated(
    scratch: URL, driver: str, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.add('op.create_index_concurrently("ix_t", "users", ["email"])')
    failures = iter(["CREATE UNIQUE INDEX CONCURRENTLY ix_t ON users (is_active)"])

    def execute(operations: Operations, statement: Any) -> None:
        """Execute the statement; leave the first index invalid, and raise the error of a deadlock."""
        if "CREATE INDEX" in str(statement) and (failure := next(failures, None)):
            with connected(scratch) as connection, suppress(psycopg.errors.UniqueViolation):
                connection.execute(failure.encode())
            statement = "DO $$ BEGIN RAISE deadlock_detected; END $$"
        original(operations, statement)

    original = Operations.execute
    monkeypatch.setattr(Operations, "execute", execute)
    command.upgrade(own.config(with_driver(scratch, driver)), "heads")
    with connected(scratch) as connection:
        index = "SELECT indisunique, indisvalid FROM pg_index WHERE indexrelid = 'ix_t'::regclass"
        assert connection.execute(index).fetchone() == (False, True)


def test_violated_constraint_can_be_repeated(scratch: URL, driver: str, users: Connection, own: Revisions) -> None:
    own.add('op.add_not_null("users", "full_name")')
    config = own.config(with_driver(scratch, driver))
    with pytest.raises(Exception, match=r"contains null values|is violated"):
        command.upgrade(config, "heads")
    users.execute("UPDATE users SET full_name = 'x'")
    command.upgrade(config, "heads")
    assert "column users.full_name text NO default " in schema(scratch)
