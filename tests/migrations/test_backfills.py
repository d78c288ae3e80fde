"""Tests for backfills: each row is updated once, in batches that follow the duration of the previous ones."""

import asyncio
import hashlib
import re
import sys
from contextlib import nullcontext
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from adapters.testing.template_databases import connected
from migrations.lint.linter import lint_revision
from migrations.operations.backfill import Progress, next_batch_size
from migrations.operations.backfill_sql import PASSES
from migrations.operations.checkpoints import _CREATE_TABLE
from migrations.runner.lock_retry import MigrationError
from migrations.sql.parser import split_statements
from tests.migrations.revision_fixtures import EXPAND_HEAD, MANY_RETRIES, RevisedDatabase
from tests.support.polling import wait_until

VERSIONS = "SELECT version, count(*) FROM users GROUP BY 1 ORDER BY 1"
COUNT = 'op.backfill("users", "version = version + 1", batch=30, pause=0)'
CHECKPOINTS = "SELECT to_regclass('alembic_backfills')"
THINGS = "INSERT INTO things SELECT {}, n % 2, 1 FROM generate_series(1, 200) n"
DELETE_CHECKPOINTS = """
    CREATE FUNCTION delete_checkpoints() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN DELETE FROM alembic_backfills; RETURN NULL; END $$;
    CREATE TRIGGER delete_checkpoints AFTER UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION delete_checkpoints()
"""
SLOW_UPDATES = """
    CREATE TABLE batches (number bigint);
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.01); INSERT INTO batches VALUES (txid_current()); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()
"""
PLAN = """
    UPDATE alembic_backfills SET planned = 50, last = ARRAY(SELECT id FROM users ORDER BY id OFFSET 49 LIMIT 1),
        keys = ARRAY(SELECT jsonb_build_array(id) FROM users ORDER BY id LIMIT 50)
"""
CREATE_TABLE_OF_PREVIOUS_RELEASE = """
    CREATE TABLE alembic_backfills (
        revision text, up boolean, number integer, digest text NOT NULL,
        last text[], done bigint NOT NULL DEFAULT 0, finished boolean NOT NULL DEFAULT false,
        PRIMARY KEY (revision, up, number)
    )
"""
INSERT_CHECKPOINT_OF_PREVIOUS_RELEASE = """
    INSERT INTO alembic_backfills (revision, up, number, digest, last, done)
    SELECT %s, true, 1, %s, ARRAY[id::text], 40 FROM users ORDER BY id OFFSET 39 LIMIT 1
"""
HOLD = "SELECT FROM users WHERE id = (SELECT id FROM users ORDER BY id OFFSET 100 LIMIT 1) FOR UPDATE"
MIGRATE = """
import sys
from alembic import command
from sqlalchemy import make_url
from pathlib import Path
from tests.migrations.revision_fixtures import MANY_RETRIES, Revisions
config = Revisions(Path(sys.argv[1])).config(make_url(sys.argv[2]), lock_retry_policy=MANY_RETRIES)
command.upgrade(config, "heads")
"""
COMPUTE = """
op.backfill(
    "users", "full_name = computed.name || ':x', version = version + 1", where="email <> '1@x.org'", batch=10, pause=0,
    compute=lambda email: {"name": email.upper()}, columns=["email"], computed={"name": "text"},
)
"""
COMPUTE_TYPES = """
from datetime import datetime

def compute(t, b, a, n, u, i):
    values = {"t": t, "b": b, "a": a, "n": n, "u": u, "i": i, "at": datetime(2026, 1, 2), "tokens": ["x:y", *a]}
    return values if t is None else values | {"t": t * 2, "b": b * 2, "a": a * 2, "n": n * 2}

types = {"t": "text", "b": "bytea", "a": "text[]", "n": "numeric", "u": "uuid", "i": "bigint", "at": "timestamp"}
op.backfill(
    "things",
    "s = array_to_tsvector(computed.tokens), " + ", ".join(f"{name} = computed.{name}" for name in types),
    compute=compute,
    columns=list("tbanui"),
    computed={**types, "tokens": "text[]"},
)
"""
both_drivers = pytest.mark.usefixtures("driver")


@pytest.fixture
def users(database: RevisedDatabase) -> RevisedDatabase:
    """The database with 100 users."""
    database.insert_users()
    return database


@both_drivers
def test_backfill_assigns_values_to_matching_rows(users: RevisedDatabase) -> None:
    users.add(
        """op.backfill("users", "full_name = 'a:b', version = version + 1", where="email <> '1@x.org'", batch=7)"""
    )
    users.upgrade()
    found = users.execute("SELECT full_name, version, count(*) FROM users GROUP BY 1, 2 ORDER BY 2")
    assert found == [(None, 1, 1), ("a:b", 2, 99)]
    assert users.execute(CHECKPOINTS) == [(None,)]
    assert users.reported[0].startswith("backfill of users: done, 99 rows in ")


@both_drivers
def test_finished_backfill_is_skipped_when_revision_is_repeated(users: RevisedDatabase) -> None:
    users.add(f'{COUNT}\n{COUNT}\nop.add_not_null("users", "full_name")')
    for _ in range(2):
        with pytest.raises(Exception, match=r"contains null values"):
            users.upgrade()
        after_last_key = UUID(int=2**128 - 1)
        users.execute("UPDATE users SET id = %s, full_name = 'x' WHERE email = '1@x.org'", after_last_key)
    assert users.execute(VERSIONS) == [(3, 100)]
    users.execute("UPDATE users SET full_name = 'x'")
    users.upgrade()
    assert users.execute(VERSIONS) == [(3, 100)]
    assert users.execute(CHECKPOINTS) == [(None,)]


@pytest.mark.parametrize(
    ("revision", "upgrade", "error"),
    [("two", COUNT, ""), ("one", COUNT.replace("+ 1", "+ 2"), "backfill 1 of revision one was started with another")],
)
def test_checkpoint_belongs_to_revision_and_statement(
    users: RevisedDatabase, revision: str, upgrade: str, error: str
) -> None:
    users.add(f'{COUNT}\nop.execute("SELECT 1 / 0")', revision="one")
    with pytest.raises(Exception, match="division by zero"):
        users.upgrade()
    (users.directory / "one.py").unlink()
    users.last = EXPAND_HEAD
    users.add(upgrade, revision=revision)
    with pytest.raises(MigrationError, match=error) if error else nullcontext():
        users.upgrade()
    assert users.execute(VERSIONS) == [(2 if error else 3, 100)]
    assert users.applied == [EXPAND_HEAD if error else "two"]


def test_downgrade_deletes_checkpoints_of_later_revisions(users: RevisedDatabase) -> None:
    users.add('op.add_column("users", sa.Column("a", sa.Text()))', 'op.drop_column("users", "a")', revision="column")
    users.add("""op.backfill("users", "a = 'x'")\nop.add_not_null("users", "full_name")""", revision="filled")
    with pytest.raises(Exception, match="contains null values"):
        users.upgrade()
    users.execute("UPDATE users SET full_name = 'x'")
    users.downgrade()
    assert users.execute(CHECKPOINTS) == [(None,)]
    users.upgrade()
    assert users.execute("SELECT count(*) FROM users WHERE a IS NULL") == [(0,)]


def test_deleted_checkpoint_raises_migration_error(users: RevisedDatabase) -> None:
    users.add(COUNT)
    users.execute(DELETE_CHECKPOINTS)
    with pytest.raises(MigrationError, match="The checkpoint of backfill 1 of revision test0000 is missing"):
        users.upgrade()


def test_locked_checkpoint_table_is_dropped_by_a_later_migration(users: RevisedDatabase) -> None:
    users.execute(_CREATE_TABLE)
    users.add(COUNT)
    with connected(users.url) as other, other.transaction():
        other.execute("LOCK TABLE alembic_backfills IN ACCESS SHARE MODE")
        users.upgrade()
    assert users.execute(CHECKPOINTS) == [("alembic_backfills",)]
    users.add("pass")
    users.upgrade()
    assert users.execute(CHECKPOINTS) == [(None,)]


@pytest.mark.parametrize(
    ("kind", "value"), [("char(5)", "to_char(n, 'FM000')"), ("bit(12)", "n::bit(12)"), ("numeric(9, 2)", "n / 100.0")]
)
@both_drivers
def test_backfill_accepts_key_types_with_a_length(database: RevisedDatabase, kind: str, value: str) -> None:
    database.add('op.backfill("things", "n = n + 1", batch=30, pause=0, key=("second", "first"))')
    database.execute(f"CREATE TABLE things (first {kind}, second int, n int, PRIMARY KEY (second, first))")
    database.execute(THINGS.format(value))
    database.upgrade()
    assert database.execute("SELECT n, count(*) FROM things GROUP BY 1") == [(2, 200)]


def test_backfill_without_progress_raises_migration_error(
    database: RevisedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.operations.backfill._type_of", lambda *_: "character")
    database.add('op.backfill("things", "n = n + 1", batch=1, pause=0, key=("first",))')
    database.execute("CREATE TABLE things (first char(5) PRIMARY KEY, n int)")
    database.execute("INSERT INTO things VALUES ('ab', 1), ('ac', 1)")
    with pytest.raises(MigrationError, match="Backfill of things makes no progress after key ac"):
        database.upgrade()


@pytest.mark.parametrize(("key", "error"), [("full_name", "full_name is nullable"), ("no", "no does not exist")])
def test_backfill_rejects_an_unsuitable_key(database: RevisedDatabase, key: str, error: str) -> None:
    database.add(f'op.backfill("users", "version = 2", key=("{key}",))')
    with pytest.raises(MigrationError, match=f"the key column {error}"):
        database.upgrade()


@both_drivers
async def test_backfill_skips_rows_that_stop_matching_while_locked(users: RevisedDatabase) -> None:
    users.add('op.backfill("users", "version = 2", where="version = 1", batch=10, pause=0)')
    users.policy = MANY_RETRIES
    with connected(users.url) as other, other.transaction():
        other.execute("UPDATE users SET version = 3 WHERE id IN (SELECT id FROM users ORDER BY id LIMIT 10)")
        migrating = asyncio.create_task(asyncio.to_thread(users.upgrade))
        await users.wait_for_lock_wait(migrating)
    await migrating
    assert users.execute(VERSIONS) == [(2, 90), (3, 10)]


@pytest.mark.parametrize("planned", [False, True])
async def test_backfill_continues_after_commit_of_killed_process(users: RevisedDatabase, planned: bool) -> None:
    users.add('op.backfill("users", "version = version + 1", batch=10, pause=0)')
    users.policy = MANY_RETRIES
    digest = hashlib.sha256(b"UPDATE users SET version = version + 1 WHERE TRUE").hexdigest()
    users.execute(_CREATE_TABLE)
    users.execute("INSERT INTO alembic_backfills VALUES (%s, true, 1, %s)", users.last, digest)
    if planned:
        users.execute(PLAN)
    with connected(users.url) as killed, killed.transaction():  # its process has ended, its session has not
        killed.execute("UPDATE users SET version = 2 WHERE id IN (SELECT id FROM users ORDER BY id LIMIT 10)")
        killed.execute(f"{PLAN}, done = 10, position = 10")
        migrating = asyncio.create_task(asyncio.to_thread(users.upgrade))
        await users.wait_for_lock_wait(migrating)
    await migrating
    assert users.execute(VERSIONS) == [(2, 100)]


@both_drivers
def test_backfill_continues_after_checkpoint_of_previous_release(users: RevisedDatabase) -> None:
    users.add(COUNT)
    digest = hashlib.sha256(b"UPDATE users SET version = version + 1 WHERE TRUE").hexdigest()
    users.execute(CREATE_TABLE_OF_PREVIOUS_RELEASE)
    users.execute(INSERT_CHECKPOINT_OF_PREVIOUS_RELEASE, users.last, digest)
    users.upgrade()
    assert any("continues after 40 rows" in line for line in users.reported)
    assert users.execute(VERSIONS) == [(1, 40), (2, 60)]
    assert users.execute(CHECKPOINTS) == [(None,)]


@pytest.mark.drill
async def test_killed_backfill_continues_after_its_last_batch(database: RevisedDatabase) -> None:
    database.add('op.backfill("users", "version = version + 1", batch=100, pause=0)')
    database.insert_users(200)
    arguments = (MIGRATE, str(database.directory), database.url.render_as_string(hide_password=False))
    with connected(database.url) as other, other.transaction():
        other.execute(HOLD)  # the backfill cannot finish
        child = await asyncio.create_subprocess_exec(sys.executable, "-uc", *arguments, stdout=asyncio.subprocess.PIPE)
        updated = "SELECT id FROM users WHERE version = 2"
        await wait_until(lambda: child.returncode is not None or database.execute(updated) != [])
        child.kill()
        await child.communicate()
    assert 0 < len(database.execute(updated)) < 200
    await asyncio.to_thread(database.upgrade)
    assert any("continues after" in line for line in database.reported)
    assert database.execute(VERSIONS) == [(2, 200)]
    assert database.execute(CHECKPOINTS) == [(None,)]


async def test_backfill_script_releases_its_rows_after_each_batch(users: RevisedDatabase) -> None:
    users.add(COUNT)
    script = users.sql(f"{EXPAND_HEAD}:heads")

    def run() -> None:
        with connected(users.url) as connection:
            for statement in split_statements(script):
                connection.execute(statement.encode())

    with connected(users.url) as other:
        with other.transaction():
            other.execute("UPDATE users SET full_name = 'x' WHERE id = (SELECT max(id::text)::uuid FROM users)")
            migrating = asyncio.create_task(asyncio.to_thread(run))
            await users.wait_for_lock_wait(migrating)
            users.execute("SET lock_timeout = '30s'")
            users.execute("UPDATE users SET full_name = 'y' WHERE id <> (SELECT max(id::text)::uuid FROM users)")
        await migrating
    assert users.execute(VERSIONS) == [(2, 100)]
    assert users.applied == [users.last]


@both_drivers
def test_backfill_computes_matching_rows_once(users: RevisedDatabase, tmp_path: Path) -> None:
    failing = tmp_path / "failing"
    failing.touch()
    check = f"""__import__("pathlib").Path({str(failing)!r}).exists() and email == last and 1 / 0 or """
    last = "last = '{}'".format(
        *users.execute("SELECT email FROM users WHERE email <> '1@x.org' ORDER BY id DESC LIMIT 1")[0]
    )
    users.add(f"{last}\n{COMPUTE.replace('email.upper()', check + 'email.upper()')}")
    with pytest.raises(ZeroDivisionError):
        users.upgrade()
    partial = users.execute("SELECT count(*) FROM users WHERE full_name = upper(email) || ':x' AND version = 2")
    assert (0,) < partial[0] < (99,)
    failing.unlink()
    users.upgrade()
    found = users.execute(
        "SELECT full_name = upper(email) || ':x', version, count(*) FROM users GROUP BY 1, 2 ORDER BY 2"
    )
    assert found == [(None, 1, 1), (True, 2, 99)]
    assert users.execute(CHECKPOINTS) == [(None,)]
    assert any(re.search("done, 99 rows", line) for line in users.reported)


@both_drivers
async def test_backfill_computes_from_values_of_a_concurrent_update(users: RevisedDatabase) -> None:
    users.add(COMPUTE)
    users.policy = MANY_RETRIES
    with connected(users.url) as other, other.transaction():
        other.execute(
            "DELETE FROM users WHERE id = (SELECT id FROM users WHERE email <> '1@x.org' ORDER BY id LIMIT 1)"
        )
        first = "SELECT id FROM users WHERE email <> '1@x.org' ORDER BY id LIMIT 20"
        other.execute(f"UPDATE users SET email = 'new' || email WHERE id IN ({first})")  # noqa: S608
        migrating = asyncio.create_task(asyncio.to_thread(users.upgrade))
        await users.wait_for_lock_wait(migrating)
    await migrating
    rows = "SELECT count(*) FROM users WHERE full_name IS DISTINCT FROM upper(email) || ':x'"
    assert users.execute(rows + " AND email <> '1@x.org'") == [(0,)]


@both_drivers
def test_backfill_accepts_types_of_computed_values(database: RevisedDatabase) -> None:
    database.add(COMPUTE_TYPES)
    columns = "t text, b bytea, a text[] DEFAULT '{}', n numeric, u uuid, i bigint, at timestamp, s tsvector"
    database.execute(f"CREATE TABLE things (id int PRIMARY KEY, {columns})")
    values = ('"é:', b"\x00\xff", ["a", "b"], Decimal("1.25"), UUID(int=1), 9007199254740993)
    database.execute("INSERT INTO things VALUES (1, %s, %s, %s, %s, %s, %s)", *values)
    database.execute("INSERT INTO things VALUES (2)")
    database.upgrade()
    filled, empty = database.execute("SELECT t, b, a, n, u, i, at::date, s::text FROM things ORDER BY id")
    doubled = ('"é:"é:', b"\x00\xff\x00\xff", ["a", "b", "a", "b"], Decimal("2.5"))
    assert filled == (*doubled, UUID(int=1), 9007199254740993, date(2026, 1, 2), "'a' 'b' 'x:y'")
    assert empty == (None, None, [], None, None, None, date(2026, 1, 2), "'x:y'")


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [("{}", KeyError, "name"), ('{"name": object()}', TypeError, "returned a value of the type object")],
)
def test_backfill_rejects_computed_values(
    users: RevisedDatabase, values: str, error: type[Exception], message: str
) -> None:
    users.add(COMPUTE.replace('{"name": email.upper()}', values))
    with pytest.raises(error, match=message):
        users.upgrade()
    assert users.execute(VERSIONS) == [(1, 100)]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_script_of_a_computed_backfill_rejects_matching_rows(database: RevisedDatabase, rows: int) -> None:
    database.add(COMPUTE)
    database.insert_users(rows)
    with (
        connected(database.url) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="the backfill of users needs Python")
        if rows > 1
        else nullcontext(),
    ):
        for statement in split_statements(database.sql(f"{EXPAND_HEAD}:heads")):
            connection.execute(statement.encode())
    assert database.execute(VERSIONS) == [(1, rows)] * (rows > 0)
    assert database.applied == [EXPAND_HEAD if rows > 1 else database.last]


@pytest.mark.parametrize(
    ("rows", "row_seconds", "batches", "expected"),
    [(10, 0.0001, 20, 500), (10, 0.0, 20, 1000), (1000, 3600.0, 20, 1), (100, 3600.0, 1, 50), (100, 0.0, 1, 200)],
)
def test_batch_size_follows_the_duration_of_batches(rows: int, row_seconds: float, batches: int, expected: int) -> None:
    for _ in range(batches):
        rows = next_batch_size(rows, rows * row_seconds, 1000)
    assert rows == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("batch", "largest"), [(60, 10), (8, 8)])
def test_backfill_shrinks_batches_of_slow_rows(database: RevisedDatabase, batch: int, largest: int) -> None:
    database.add(f'op.backfill("users", "full_name = \'x\'", batch={batch}, pause=0)')
    database.insert_users(200)
    database.execute(SLOW_UPDATES)
    database.upgrade()
    sizes = [
        int(str(size)) for (size,) in database.execute("SELECT count(*) FROM batches GROUP BY number ORDER BY number")
    ]
    assert sum(sizes) == 200
    assert max(sizes) <= largest
    assert sizes[2] <= 6, "a row takes 10 ms, so a batch has about 5 rows"


def test_backfill_batch_has_no_neighboring_rows(database: RevisedDatabase) -> None:
    database.add('op.backfill("things", "batch = txid_current()", batch=10, pause=0)')
    database.execute("CREATE TABLE things (id int PRIMARY KEY, batch bigint)")
    database.execute("INSERT INTO things SELECT generate_series(1, 500)")
    database.upgrade()
    gaps = "SELECT id - lag(id) OVER (PARTITION BY batch ORDER BY id) AS gap FROM things"
    found = database.execute(f"SELECT min(gap), count(*) FROM ({gaps})")  # noqa: S608
    assert found == [(pytest.approx(PASSES, abs=1), 500)]
    assert database.execute("SELECT count(DISTINCT batch) >= 50, count(batch) FROM things") == [(True, 500)]


def test_progress_reports_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("migrations.operations.backfill.time.monotonic", lambda: now[0])
    lines: list[str] = []
    progress = Progress(lines.append, "backfill of users", 5000, start=1000)
    for now[0], rows in ((9.0, 1500), (10.0, 2000), (20.0, 3000), (30.0, 5000), (40.0, 6000)):
        progress.update(rows)
    assert lines == [
        "backfill of users: continues after 1,000 rows",
        "backfill of users: 2,000 rows of about 5,000, 100/s, about 30 s left",
        "backfill of users: 3,000 rows of about 5,000, 100/s, about 20 s left",
        "backfill of users: 5,000 rows of about 5,000, 133/s",
        "backfill of users: 6,000 rows of about 6,000, 125/s",
    ]


def test_backfill_batch_counts_scanned_rows(database: RevisedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrations.operations.backfill.REPORT_INTERVAL_SECONDS", 0.0)
    database.add("""op.backfill("users", "version = 2", where="email = '1@x.org'", pause=0)""")
    database.insert_users(200)
    database.upgrade()
    assert database.execute("SELECT email FROM users WHERE version = 2") == [("1@x.org",)]
    batches = [line for line in database.reported if " rows of about " in line]
    assert len(batches) >= 5, "10 + 20 + 40 + 80 < 200: a batch that counted matching rows would scan all"
    assert batches[-1].startswith("backfill of users: 1 rows of about 1, ")


def test_documented_revisions_add_fill_and_require_a_column(database: RevisedDatabase) -> None:
    document = (Path(__file__).parents[2] / "docs" / "migrations.md").read_text()
    codes = re.findall(r'^```python\n(""".*?)^```$', document, re.DOTALL | re.MULTILINE)
    names = [re.findall('^revision = "(.*)"', code, re.MULTILINE)[0] for code in codes]
    followed = [re.findall('^down_revision = "(.*)"', code, re.MULTILINE)[0] for code in codes]
    assert (len(names), followed[1:]) == (3, names[:-1])
    for name, code in zip(names, codes, strict=True):
        (database.directory / f"{name}.py").write_text(code.replace(followed[0], EXPAND_HEAD))
    database.insert_users()
    rejected = [each for name in names for each in lint_revision(database.scripts().get_revision(name))]
    assert [str(each) for each in rejected if each.reason is None] == []
    for name, filled, nullable in zip(names, (0, 100, 100), ("YES", "YES", "NO"), strict=True):
        database.upgrade(name)
        assert database.execute("SELECT count(nickname) FROM users") == [(filled,)]
        query = "SELECT is_nullable FROM information_schema.columns WHERE column_name = 'nickname'"
        assert database.execute(query) == [(nullable,)]
    assert database.execute("SELECT DISTINCT nickname = split_part(email, '@', 1) FROM users") == [(True,)]
    database.downgrade(EXPAND_HEAD)
