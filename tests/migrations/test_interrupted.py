"""Tests for migrations that meet a lock or an error, and for their repetition."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from adapters.embedded import EmbeddedPostgres
from adapters.postgres.schema import upgrade as upgrade_module
from adapters.testing.template_databases import FAST, Connection, connected, with_driver
from migrations.runner.lock_retry import (
    LOCK_NOT_AVAILABLE,
    LockRetryPolicy,
    MigrationError,
    request_weak_lock,
    retry_on_lock_timeout,
)
from tests.migrations.revision_fixtures import EXPAND_HEAD, MANY_RETRIES, RevisedDatabase, Revisions
from tests.support.database_fixture import WAITING
from tests.support.polling import wait_until

ADD = 'op.add_column("users", sa.Column("a", sa.Text()))'
CHECK = 'op.add_check("ck_t", "users", "version > 0")'
INDEX = 'op.create_index_concurrently("ix_t", "users", ["email"])'
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
BUILD = "CREATE UNIQUE INDEX CONCURRENTLY ix_t ON users (email)"
either = pytest.mark.parametrize("upgrade", [ADD, CHECK], ids=["plain", "safe operation"])
both_drivers = pytest.mark.usefixtures("driver")


@contextmanager
def _locked(url: URL, mode: str = "ACCESS SHARE", table: str = "users") -> Iterator[Connection]:
    with connected(url) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        yield connection


def test_lock_retry_counts_attempts_per_step() -> None:
    policy = LockRetryPolicy(attempts=3, lock_timeout=0.001, max_backoff=0.001)
    context = MigrationContext.configure(dialect_name="postgresql", opts={"lock_retry_policy": policy})
    steps = list("aabbb")

    def attempt() -> None:
        raise OperationalError("SELECT 1", {}, SimpleNamespace(sqlstate=LOCK_NOT_AVAILABLE))  # type: ignore[arg-type]

    with pytest.raises(MigrationError, match="b: no lock after 3 attempts of 0 ms"):
        retry_on_lock_timeout(context, attempt, current_step=lambda: steps.pop(0))
    assert steps == []


def test_lock_retry_gives_up_after_the_longest_wait(database: RevisedDatabase) -> None:
    database.policy = LockRetryPolicy(attempts=1000, lock_timeout=0.001, max_backoff=0.001, max_wait=0)
    database.add(ADD)
    with _locked(database.url), pytest.raises(MigrationError, match="no lock after 2 attempts of 1 ms"):
        database.upgrade()


@pytest.mark.parametrize(
    ("upgrade", "table"),
    [
        (ADD, "users"),
        (CHECK, "users"),
        (INDEX, "users"),
        ('op.drop_index_concurrently("ix_posts_id", "posts")', "posts"),
        ('op.backfill("users", "version = version + 1")', "users"),
        (ADD, "alembic_version"),
        (INDEX, "alembic_version"),
    ],
)
@both_drivers
def test_migration_gives_up_under_an_access_exclusive_lock(
    database: RevisedDatabase, monkeypatch: pytest.MonkeyPatch, upgrade: str, table: str
) -> None:
    monkeypatch.setattr(upgrade_module, "alembic_config", database.config)
    database.add(upgrade, 'op.execute("ANALYZE users")')
    database.policy = LockRetryPolicy(attempts=3, lock_timeout=0.05, weak_lock_timeout=0.05, max_backoff=0.01)
    with _locked(database.url, "ACCESS EXCLUSIVE", table) as blocker:
        pid = blocker.info.backend_pid
        with pytest.raises(MigrationError) as raised:
            upgrade_module.upgrade(database.url, database.reported.append)
    holder = rf"pid {pid} \(.+, idle in transaction for \d+ s\) holds AccessExclusiveLock on {table}"
    assert re.search(holder, str(raised.value))
    assert database.applied == [EXPAND_HEAD]
    upgrade_module.upgrade(database.url, database.reported.append)
    assert database.applied == [database.last]


def test_migration_error_names_a_prepared_transaction(own: Revisions, tmp_path: Path) -> None:
    own.add(ADD)
    settings = FAST | {"max_prepared_transactions": "1"}
    with EmbeddedPostgres(tmp_path / "postgres", report=lambda _: None, settings=settings) as server:
        url = make_url(server.url())
        command.upgrade(own.config(url), EXPAND_HEAD)
        with connected(url) as connection:
            connection.execute("BEGIN; LOCK TABLE users; PREPARE TRANSACTION 'held'")
        message = r"prepared transaction held \(hexapost, in transaction for \d+ s\) holds AccessExclusiveLock on users"
        with pytest.raises(MigrationError, match=message):
            command.upgrade(own.config(url), "heads")


@pytest.mark.parametrize(("mode", "is_requested"), [("SHARE UPDATE EXCLUSIVE", True), ("ACCESS EXCLUSIVE", False)])
def test_weak_lock_between_attempts_is_only_for_vacuum(
    database: RevisedDatabase, mode: str, *, is_requested: bool
) -> None:
    engine = create_engine(with_driver(database.url, "psycopg"), poolclass=NullPool)
    policy = LockRetryPolicy(weak_lock_timeout=0.01)
    expected = pytest.raises(OperationalError, match="lock timeout") if is_requested else nullcontext()
    with _locked(database.url, mode), engine.connect() as connection, expected:
        request_weak_lock(connection, ["users"], policy, only_if_vacuumed=True)


@either
@both_drivers
async def test_migration_retries_until_the_lock_is_free(database: RevisedDatabase, upgrade: str) -> None:
    database.add(upgrade)
    database.policy = MANY_RETRIES
    with _locked(database.url):
        migrating = asyncio.create_task(asyncio.to_thread(database.upgrade))
        for expected in (True, False, True):
            await wait_until(lambda: migrating.done() or (database.execute(WAITING) != [(0,)]) == expected)  # noqa: B023
        assert not migrating.done()
    await migrating
    assert database.applied == [database.last]


@either
@both_drivers
def test_migration_error_names_the_lock_holder(database: RevisedDatabase, upgrade: str) -> None:
    database.add('op.create_table("first", sa.Column("id", sa.Uuid()))', revision="one")
    database.add(f'op.create_table("second", sa.Column("id", sa.Uuid()), if_not_exists=True)\n{ADD}\n', revision="two")
    database.add(upgrade.replace('"a"', '"b"'), revision="three")
    before = database.schema
    with _locked(database.url) as blocker, pytest.raises(MigrationError) as raised:
        pid = blocker.info.backend_pid
        database.upgrade()
    assert "no lock after 3 attempts of 50 ms" in str(raised.value)
    assert f"pid {pid} (" in str(raised.value)
    assert "holds AccessShareLock on users" in str(raised.value)
    assert "nothing was changed" in str(raised.value)
    assert database.applied == ["one"]
    assert {line for line in database.schema if line not in before} == {"column first.id uuid YES default "}


@pytest.mark.parametrize(
    ("first", "table", "message"),
    [
        ('op.add_unique("uq_t", "users", ["email"])', "users", "the statements before it and 1 of its steps are kept"),
        (CHECK, "posts", "its completed safe operations are kept"),
        ('op.backfill("users", "version = version + 1")', "posts", "its completed safe operations are kept"),
    ],
    ids=["step", "safe operation", "backfill"],
)
def test_migration_error_names_the_completed_steps(
    database: RevisedDatabase, first: str, table: str, message: str
) -> None:
    database.insert_users()
    database.add(f'{first}\nop.add_column("posts", sa.Column("a", sa.Text()))')
    with _locked(database.url, table=table), pytest.raises(MigrationError, match=message):
        database.upgrade()
    assert database.applied == [EXPAND_HEAD]
    database.upgrade()
    assert database.applied == [database.last]
    assert database.execute("SELECT DISTINCT version FROM users") == [(2 if "backfill" in first else 1,)]


@both_drivers
def test_statement_timeout_under_a_lock_stops_the_migration(database: RevisedDatabase) -> None:
    database.add(f'{ADD}\nop.execute("SELECT pg_sleep(60)")')
    database.policy = LockRetryPolicy(statement_timeout=0.3)
    before = database.schema
    with pytest.raises(MigrationError, match=r"stopped after the statement_timeout of 0\.3 s"):
        database.upgrade()
    assert database.schema == before


@pytest.mark.parametrize("upgrade", [INDEX.replace(")", ", unique=True)"), 'op.add_unique("ix_t", "users", ["email"])'])
@both_drivers
def test_safe_operation_replaces_an_invalid_index(database: RevisedDatabase, upgrade: str) -> None:
    database.insert_users()
    database.add(upgrade)
    database.execute("UPDATE users SET email = 'same@x.org'")
    for is_plain, invalid in ((True, 1), (False, 0), (True, 1)):
        with pytest.raises(Exception, match="could not create unique index"):
            database.execute(BUILD) if is_plain else database.upgrade()
        assert database.execute(INVALID) == [(invalid,)]
    database.execute("UPDATE users SET email = id::text")
    database.upgrade()
    assert database.execute(INVALID) == [(0,)]
    assert any("ix_t" in line for line in database.schema)


@both_drivers
async def test_cancelled_index_build_is_reported_and_repeated(database: RevisedDatabase) -> None:
    database.insert_users()
    database.add(INDEX)
    database.policy = LockRetryPolicy(weak_lock_timeout=0.2)
    cancel = """
        SELECT pg_cancel_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'virtualxid'
    """
    with _locked(database.url, "ROW EXCLUSIVE"):
        migrating = asyncio.create_task(asyncio.to_thread(database.upgrade))
        await wait_until(lambda: migrating.done() or database.execute(cancel) != [])
        with pytest.raises(
            MigrationError, match=r"creating index ix_t: cancelled by another session; the statements before it"
        ):
            await migrating
        assert [line.partition(" and ")[0] for line in database.reported] == ["index ix_t is INVALID"]
    await asyncio.to_thread(database.upgrade)
    assert database.execute(INVALID) == [(0,)]


@both_drivers
def test_deadlocked_index_build_is_repeated(database: RevisedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    database.insert_users()
    database.add(INDEX)
    failures = iter([BUILD.replace("email", "is_active")])

    def execute(operations: Operations, statement: Any) -> None:
        """Execute the statement; leave the first index invalid, and raise the error of a deadlock."""
        if "CREATE INDEX" in str(statement) and (failure := next(failures, None)):
            with suppress(psycopg.errors.UniqueViolation):
                database.execute(failure)
            statement = "DO $$ BEGIN RAISE deadlock_detected; END $$"
        original(operations, statement)

    original = Operations.execute
    monkeypatch.setattr(Operations, "execute", execute)
    database.upgrade()
    index = "SELECT indisunique, indisvalid FROM pg_index WHERE indexrelid = 'ix_t'::regclass"
    assert database.execute(index) == [(False, True)]
