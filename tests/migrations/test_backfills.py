"""Tests for backfills: each row is updated once."""

import asyncio
import hashlib
import io

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.operations.checkpoints import _CREATE_TABLE
from migrations.runner.lock_retry import MigrationError
from migrations.sql.parser import split_statements
from tests.migrations.revision_fixtures import EXPAND_HEAD, MANY_RETRIES, Revisions
from tests.support.database_fixture import WAITING
from tests.support.polling import wait_until
from tests.support.schema_dump import revisions
from tests.support.template_databases import Connection, connected, with_driver

VERSIONS = "SELECT version, count(*) FROM users GROUP BY 1 ORDER BY 1"
COUNT = 'op.backfill("users", "version = version + 1", batch=30, pause=0)'
CHECKPOINTS = "SELECT to_regclass('alembic_backfills')"
THINGS = "INSERT INTO things SELECT {}, n % 2, 1 FROM generate_series(1, 200) n"
DELETE_CHECKPOINTS = """
    CREATE FUNCTION delete_checkpoints() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN DELETE FROM alembic_backfills; RETURN NULL; END $$;
    CREATE TRIGGER delete_checkpoints AFTER UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION delete_checkpoints()
"""


def _versions(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(VERSIONS).fetchall()


def test_backfill_assigns_values_to_matching_rows(scratch: URL, driver: str, users: Connection, own: Revisions) -> None:
    own.add("""op.backfill("users", "full_name = 'a:b', version = version + 1", where="email <> '1@x.org'", batch=7)""")
    reported: list[str] = []
    command.upgrade(own.config(with_driver(scratch, driver), report=reported.append), "heads")
    found = users.execute("SELECT full_name, version, count(*) FROM users GROUP BY 1, 2 ORDER BY 2").fetchall()
    assert found == [(None, 1, 1), ("a:b", 2, 99)]
    assert users.execute(CHECKPOINTS).fetchone() == (None,)
    assert reported[0].startswith("backfill of users: done, 99 rows in ")


def test_finished_backfill_is_skipped_when_revision_is_repeated(
    scratch: URL, driver: str, users: Connection, own: Revisions
) -> None:
    own.add(f'{COUNT}\n{COUNT}\nop.add_not_null("users", "full_name")')
    config = own.config(with_driver(scratch, driver))
    for _ in range(2):
        with pytest.raises(Exception, match=r"contains null values"):
            command.upgrade(config, "heads")
    assert _versions(users) == [(3, 100)]
    users.execute("UPDATE users SET full_name = 'x'")
    command.upgrade(config, "heads")
    assert _versions(users) == [(3, 100)]
    assert users.execute(CHECKPOINTS).fetchone() == (None,)


def test_backfill_of_another_revision_starts_anew(scratch: URL, users: Connection, own: Revisions) -> None:
    own.add(f'{COUNT}\nop.execute("SELECT 1 / 0")', revision="one")
    with pytest.raises(Exception, match="division by zero"):
        command.upgrade(own.config(scratch), "heads")
    (own.directory / "one.py").unlink()
    own.last = EXPAND_HEAD
    own.add(COUNT, revision="two")
    command.upgrade(own.config(scratch), "heads")
    assert _versions(users) == [(3, 100)]


def test_backfill_rejects_a_changed_statement(scratch: URL, users: Connection, own: Revisions) -> None:
    own.add(f'{COUNT}\nop.execute("SELECT 1 / 0")', revision="one")
    with pytest.raises(Exception, match="division by zero"):
        command.upgrade(own.config(scratch), "heads")
    own.last = EXPAND_HEAD
    own.add(COUNT.replace("+ 1", "+ 2"), revision="one")
    with pytest.raises(MigrationError, match="backfill 1 of revision one was started with another statement"):
        command.upgrade(own.config(scratch), "heads")
    assert (_versions(users), revisions(scratch)) == ([(2, 100)], [EXPAND_HEAD])


def test_downgrade_deletes_checkpoints_of_later_revisions(scratch: URL, users: Connection, own: Revisions) -> None:
    own.add('op.add_column("users", sa.Column("a", sa.Text()))', 'op.drop_column("users", "a")', revision="column")
    own.add("""op.backfill("users", "a = 'x'")\nop.add_not_null("users", "full_name")""", revision="filled")
    with pytest.raises(Exception, match="contains null values"):
        command.upgrade(own.config(scratch), "heads")
    users.execute("UPDATE users SET full_name = 'x'")
    command.downgrade(own.config(scratch), "-1")
    assert users.execute(CHECKPOINTS).fetchone() == (None,)
    command.upgrade(own.config(scratch), "heads")
    assert users.execute("SELECT count(*) FROM users WHERE a IS NULL").fetchone() == (0,)


def test_deleted_checkpoint_raises_migration_error(scratch: URL, users: Connection, own: Revisions) -> None:
    own.add(COUNT)
    users.execute(DELETE_CHECKPOINTS)
    with pytest.raises(MigrationError, match="The checkpoint of backfill 1 of revision test0000 is missing"):
        command.upgrade(own.config(scratch), "heads")


@pytest.mark.parametrize(
    ("kind", "value"), [("char(5)", "to_char(n, 'FM000')"), ("bit(12)", "n::bit(12)"), ("numeric(9, 2)", "n / 100.0")]
)
def test_backfill_accepts_key_types_with_a_length(
    scratch: URL, driver: str, own: Revisions, kind: str, value: str
) -> None:
    own.add('op.backfill("things", "n = n + 1", batch=30, pause=0, key=("second", "first"))')
    with connected(scratch) as connection:
        connection.execute(
            f"CREATE TABLE things (first {kind}, second int, n int, PRIMARY KEY (second, first))".encode()
        )
        connection.execute(THINGS.format(value).encode())
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
        assert connection.execute("SELECT n, count(*) FROM things GROUP BY 1").fetchall() == [(2, 200)]


def test_backfill_without_progress_raises_migration_error(
    scratch: URL, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.operations.backfill._type_of", lambda *_: "character")
    own.add('op.backfill("things", "n = n + 1", batch=1, pause=0, key=("first",))')
    with connected(scratch) as connection:
        connection.execute("CREATE TABLE things (first char(5) PRIMARY KEY, n int)")
        connection.execute("INSERT INTO things VALUES ('ab', 1), ('ac', 1)")
        with pytest.raises(MigrationError, match="Backfill of things makes no progress after key ab"):
            command.upgrade(own.config(scratch), "heads")


def test_backfill_rejects_a_nullable_key(scratch: URL, own: Revisions) -> None:
    own.add('op.backfill("users", "version = 2", key=("full_name",))')
    with pytest.raises(MigrationError, match="the key column full_name is nullable"):
        command.upgrade(own.config(scratch), "heads")


async def test_backfill_skips_rows_that_stop_matching_while_locked(
    scratch: URL, driver: str, users: Connection, own: Revisions
) -> None:
    own.add('op.backfill("users", "version = 2", where="version = 1", batch=10, pause=0)')
    config = own.config(with_driver(scratch, driver), policy=MANY_RETRIES)
    with connected(scratch) as other, other.transaction():
        other.execute("UPDATE users SET version = 3 WHERE id IN (SELECT id FROM users ORDER BY id LIMIT 10)")
        migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
        await wait_until(lambda: migrating.done() or users.execute(WAITING).fetchone() != (0,))
    await migrating
    assert _versions(users) == [(2, 90), (3, 10)]


async def test_backfill_continues_after_commit_of_killed_process(
    scratch: URL, users: Connection, own: Revisions
) -> None:
    own.add('op.backfill("users", "version = version + 1", batch=10, pause=0)')
    config = own.config(scratch, policy=MANY_RETRIES)
    users.execute(_CREATE_TABLE.encode())
    digest = hashlib.sha256(b"UPDATE users SET version = version + 1 WHERE TRUE").hexdigest()
    users.execute("INSERT INTO alembic_backfills VALUES (%s, true, 1, %s)", [own.last, digest])
    with connected(scratch) as killed, killed.transaction():  # its process has ended, its session has not
        killed.execute("UPDATE users SET version = 2 WHERE id IN (SELECT id FROM users ORDER BY id LIMIT 10)")
        killed.execute(
            "UPDATE alembic_backfills SET done = 10, last = ARRAY(SELECT id FROM users ORDER BY id OFFSET 9 LIMIT 1)"
        )
        migrating = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "heads"))
        await wait_until(lambda: migrating.done() or users.execute(WAITING).fetchone() != (0,))
    await migrating
    assert _versions(users) == [(2, 100)]


async def test_backfill_script_releases_its_rows_after_each_batch(
    scratch: URL, users: Connection, own: Revisions
) -> None:
    own.add(COUNT)
    output = io.StringIO()
    config = own.config()
    config.output_buffer = output
    command.upgrade(config, f"{EXPAND_HEAD}:heads", sql=True)

    def run() -> None:
        with connected(scratch) as connection:
            for statement in split_statements(output.getvalue()):
                connection.execute(statement.encode())

    with connected(scratch) as other:
        with other.transaction():
            other.execute("UPDATE users SET full_name = 'x' WHERE id = (SELECT max(id::text)::uuid FROM users)")
            migrating = asyncio.create_task(asyncio.to_thread(run))
            await wait_until(lambda: migrating.done() or users.execute(WAITING).fetchone() != (0,))
            users.execute("SET lock_timeout = '30s'")
            users.execute("UPDATE users SET full_name = 'y' WHERE id <> (SELECT max(id::text)::uuid FROM users)")
        await migrating
    assert _versions(users) == [(2, 100)]
    assert revisions(scratch) == [own.last]
